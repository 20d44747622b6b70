// Damaged segments: what one flipped bit has done is undone, larger damage costs the documents it
// touches and no others, and all of it is said.
#include "index/segment_examination.h"

#include <doctest/doctest.h>

#include <cstring>
#include <set>

#include "index_fixtures.h"

using namespace maxsim;

namespace {

// Sanitizers and emulation take twenty times as long: they look at a part of the cases.
#if defined(MAXSIM_GENERAL_DIMS) || defined(__aarch64__)
constexpr int kStride = 11;
#else
constexpr int kStride = 1;
#endif

constexpr Codec kThreeLayouts[] = {Codec::kInt8, Codec::kF32, Codec::kR4};

// A segment and what it holds, to be damaged.
struct Specimen {
  TempDirectory directory;
  VectorFormat format;
  Corpus corpus;
  std::string path = directory / "s";
  SegmentSummary summary;
  std::vector<uint8_t> whole;
  SegmentHeader header;

  Specimen(Codec codec, size_t documents, size_t dim = kDim) : format(IndexFormat(codec, dim)) {
    Noise noise(7);
    for (size_t i = 0; i < documents; i++) {
      corpus.Add("document-" + std::to_string(i), 1 + i % 3, noise, dim);
      if (corpus.records.back().empty()) corpus.records.back() = {7};
    }
    summary = Write(path, format, corpus);
    whole = ReadAll(path);
    std::memcpy(&header, whole.data(), sizeof(header));
  }

  std::unique_ptr<SegmentExamination> Examine(const std::vector<uint8_t>& bytes) const {
    WriteAll(path, bytes);
    return Examine();
  }
  std::unique_ptr<SegmentExamination> Examine() const {
    std::unique_ptr<SegmentExamination> examination;
    const Status status = SegmentExamination::Run(path, Expect(format, summary), {}, &examination);
    REQUIRE_MESSAGE(status.ok(), status.message());
    return examination;
  }

  DocumentEntry Entry(uint32_t ordinal) const {
    DocumentEntry entry;
    std::memcpy(&entry, whole.data() + header.sections[kDocuments].offset + ordinal * sizeof(entry),
                sizeof(entry));
    return entry;
  }
  // How many bits of the document, or of its entry, are other ones; what is not there is zeros.
  size_t WrongBits(uint32_t ordinal, std::vector<uint8_t> bytes) const {
    bytes.resize(whole.size());
    const DocumentEntry entry = Entry(ordinal);
    size_t wrong = 0;
    const auto compare = [&](Section section, uint64_t offset, uint64_t size) {
      for (uint64_t i = header.sections[section].offset + offset; size-- > 0; i++) {
        wrong += static_cast<size_t>(std::popcount(static_cast<uint8_t>(bytes[i] ^ whole[i])));
      }
    };
    compare(kTokens, entry.tokens_offset(), entry.token_count() * format.TokenBytes());
    compare(kDocuments, ordinal * sizeof(entry), sizeof(entry));
    compare(kIds, entry.id_offset(), entry.id_size());
    compare(kRecords, entry.record_offset(), entry.record_size);
    return wrong;
  }

  // What is whole can be written, and is what was there before.
  void CheckSalvage(const SegmentExamination& examination) const {
    std::vector<uint32_t> kept;
    for (uint32_t i = 0; i < summary.documents; i++) {
      if (examination.IsWhole(i)) kept.push_back(i);
    }
    if (kept.empty()) return;
    SalvagedDocuments source(examination, kept);
    const std::string copy = directory / "copy";
    const auto reader = Open(copy, format, WriteSource(copy, format, source));
    REQUIRE(reader->document_count() == kept.size());
    for (uint32_t i = 0; i < kept.size(); i++) {
      CHECK(reader->Id(i) == corpus.ids[kept[i]]);
      const auto record = RecordOf(*reader, i);
      CHECK(std::vector<uint8_t>(record.begin(), record.end()) == corpus.records[kept[i]]);
      const DocumentEntry entry = Entry(kept[i]);
      const MaxsimDocument tokens = TokensOf(*reader, i);
      REQUIRE(tokens.token_count == entry.token_count());
      CHECK(std::memcmp(tokens.tokens,
                        whole.data() + header.sections[kTokens].offset + entry.tokens_offset(),
                        tokens.token_count * format.TokenBytes()) == 0);
    }
    CHECK(reader->header().longest == header.longest);
    CHECK(reader->header().largest_factor == header.largest_factor);
  }

  size_t LostCount(const SegmentExamination& examination) const {
    size_t lost = 0;
    for (uint32_t i = 0; i < summary.documents; i++) lost += examination.IsWhole(i) ? 0 : 1;
    return lost;
  }
};

void FlipBit(std::vector<uint8_t>& bytes, uint64_t bit) {
  bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
}

}  // namespace

TEST_CASE("nothing is found in a whole segment") {
  for (const Codec codec : kAllCodecs) {
    const Specimen specimen(codec, 40);
    const auto examination = specimen.Examine();
    CHECK(examination->problems().empty());
    CHECK(specimen.LostCount(*examination) == 0);
    specimen.CheckSalvage(*examination);
    for (uint32_t i = 0; i < 40; i++) CHECK(examination->Id(i) == specimen.corpus.ids[i]);
  }
}

TEST_CASE("any one flipped bit of a segment is found, named and put right") {
  Noise noise(5);
  for (const Codec codec : kThreeLayouts) {
    const Specimen specimen(codec, 9);
    for (size_t at = 0; at < specimen.whole.size(); at += kStride) {
      const unsigned bit = static_cast<unsigned>(noise.Next() % 8);
      std::vector<uint8_t> broken = specimen.whole;
      FlipBit(broken, at * 8 + bit);
      const auto examination = specimen.Examine(broken);
      REQUIRE(examination->problems().size() == 1);
      const SegmentProblem& problem = examination->problems()[0];
      CHECK(problem.remedy == Remedy::kFlippedBit);
      CHECK(problem.offset == at);
      CHECK(problem.size == 1);
      CHECK(problem.message == "bit " + std::to_string(bit) + " is flipped");
      REQUIRE(specimen.LostCount(*examination) == 0);
      specimen.CheckSalvage(*examination);
    }
  }
}

TEST_CASE("a flipped bit in every part of a segment at once is put right") {
  Noise noise(6);
  for (const Codec codec : kThreeLayouts) {
    const Specimen specimen(codec, 20);
    for (int round = 0; round < 200; round++) {
      std::vector<uint8_t> broken = specimen.whole;
      const auto flip = [&](uint64_t offset, uint64_t size) {
        if (size > 0) FlipBit(broken, offset * 8 + noise.Next() % (size * 8));
      };
      flip(0, 252);
      flip(specimen.whole.size() - 256, 252);
      for (const Section section : {kDocuments, kIds, kIdTable}) {
        flip(specimen.header.sections[section].offset, specimen.header.sections[section].size);
      }
      for (uint32_t i = 0; i < 20; i++) {
        const DocumentEntry entry = specimen.Entry(i);
        flip(specimen.header.sections[kTokens].offset + entry.tokens_offset(),
             entry.token_count() * specimen.format.TokenBytes());
        flip(specimen.header.sections[kRecords].offset + entry.record_offset(), entry.record_size);
      }
      const auto examination = specimen.Examine(broken);
      REQUIRE(specimen.LostCount(*examination) == 0);
      for (const SegmentProblem& problem : examination->problems()) {
        CHECK(problem.remedy == Remedy::kFlippedBit);
      }
      specimen.CheckSalvage(*examination);
    }
  }
}

TEST_CASE("a lost range costs the documents in it, and says which") {
  Noise noise(8);
  // Lost to zeros, to a repeated byte, and to noise.
  for (const int kind : {0, 1, 2}) {
    for (const size_t length : {2, 64, 512, 4096}) {
      const Specimen specimen(length < 512 ? Codec::kInt8 : Codec::kR4, 300, 16);
      for (int round = 0; round < 120; round += kStride) {
        std::vector<uint8_t> broken = specimen.whole;
        const uint64_t begin = noise.Next() % (broken.size() / length) * length;
        const uint64_t end = std::min<uint64_t>(begin + length, broken.size());
        for (uint64_t i = begin; i < end; i++) {
          broken[i] = kind == 0 ? 0 : kind == 1 ? 0xA5 : static_cast<uint8_t>(noise.Next() >> 32);
        }
        const auto examination = specimen.Examine(broken);
        std::set<uint32_t> named;
        for (const SegmentProblem& problem : examination->problems()) {
          // An entry of a damaged table is suspected before what it leads to.
          if (std::strcmp(problem.section, "document table") != 0) {
            CHECK(problem.offset < end);
            CHECK(begin < problem.offset + problem.size);
          }
          if (problem.remedy != Remedy::kNone) continue;
          for (uint32_t i = 0; i < problem.documents; i++) named.insert(problem.first_document + i);
        }
        CHECK((examination->problems().empty() == (broken == specimen.whole)));
        for (uint32_t i = 0; i < 300; i++) {
          const bool lost = !examination->IsWhole(i);
          CHECK(lost == (named.count(i) == 1));
          const size_t wrong = specimen.WrongBits(i, broken);
          // An entry may have been found again from its neighbours.
          if (wrong > 1) CHECK((lost || length == 2));
          if (wrong == 0) CHECK(!lost);
          const auto id = examination->Id(i);
          if (id) CHECK(*id == specimen.corpus.ids[i]);
        }
        specimen.CheckSalvage(*examination);
      }
    }
  }
}

TEST_CASE("a segment cut short keeps the documents that are there, if its tables are") {
  const Specimen specimen(Codec::kInt8, 30);
  for (size_t size = 0; size < specimen.whole.size(); size += (size % 5 + 1) * kStride) {
    std::vector<uint8_t> cut = specimen.whole;
    cut.resize(size);
    const auto examination = specimen.Examine(cut);
    REQUIRE(!examination->problems().empty());
    size_t kept = 0;
    for (uint32_t i = 0; i < 30; i++) {
      kept += examination->IsWhole(i) ? 1 : 0;
      const size_t wrong = specimen.WrongBits(i, cut);
      if (wrong != 1) CHECK(examination->IsWhole(i) == (wrong == 0));
    }
    if (size < 256) CHECK(kept == 0);
    if (size >= specimen.whole.size() - 256) CHECK(kept == 30);
    specimen.CheckSalvage(*examination);
  }
  std::vector<uint8_t> longer = specimen.whole;
  longer.resize(longer.size() + 100, 7);
  const auto examination = specimen.Examine(longer);
  CHECK(examination->problems().size() == 1);
  CHECK(specimen.LostCount(*examination) == 0);
}

TEST_CASE("either header stands in for the other, and a missing file loses all") {
  const Specimen specimen(Codec::kR4, 5);
  const size_t second = specimen.whole.size() - 256;
  for (const size_t at : {size_t{0}, second}) {
    std::vector<uint8_t> broken = specimen.whole;
    std::memset(broken.data() + at, 0, 256);
    const auto examination = specimen.Examine(broken);
    REQUIRE(examination->problems().size() == 1);
    CHECK(examination->problems()[0].remedy == Remedy::kRewritten);
    CHECK(examination->problems()[0].offset == at);
    CHECK(specimen.LostCount(*examination) == 0);
    specimen.CheckSalvage(*examination);
    std::memset(broken.data() + second - at, 0, 256);
    const auto both = specimen.Examine(broken);
    CHECK(specimen.LostCount(*both) == 5);
    CHECK(both->problems()[0].documents == 5);
    CHECK(!both->Id(0));
  }
  std::filesystem::remove(specimen.path);
  const auto examination = specimen.Examine();
  CHECK(specimen.LostCount(*examination) == 5);
  CHECK(examination->problems()[0].message.find("not there") != std::string::npos);
}

TEST_CASE("what the disk cannot give is said, and costs the documents in it") {
  const Specimen specimen(Codec::kF32, 200, 64);
  static uint64_t bad;
  for (bad = 0; bad < specimen.whole.size(); bad += 4096) {
    SetReadFault([](uint64_t offset, size_t size) { return bad >= offset && bad < offset + size; });
    const auto examination = specimen.Examine();
    SetReadFault(nullptr);
    const bool said =
        std::any_of(examination->problems().begin(), examination->problems().end(),
                    [](const SegmentProblem& problem) {
                      return problem.offset == bad &&
                             problem.message.find("disk cannot give") != std::string::npos;
                    });
    CHECK(said);
    std::vector<uint8_t> zeroed = specimen.whole;
    for (uint64_t i = bad; i < zeroed.size() && i < bad + 4096; i++) zeroed[i] = 0;
    for (uint32_t i = 0; i < 200; i++) {
      CHECK(examination->IsWhole(i) == (specimen.WrongBits(i, zeroed) == 0));
    }
    specimen.CheckSalvage(*examination);
  }
}

TEST_CASE("an entry written over another does not make two documents of one") {
  const Specimen specimen(Codec::kInt8, 8);
  std::vector<uint8_t> broken = specimen.whole;
  uint8_t* table = broken.data() + specimen.header.sections[kDocuments].offset;
  std::memcpy(table + 2 * sizeof(DocumentEntry), table + 5 * sizeof(DocumentEntry),
              sizeof(DocumentEntry));
  const auto examination = specimen.Examine(broken);
  CHECK(specimen.LostCount(*examination) == 1);
  CHECK(!examination->IsWhole(2));
  CHECK(!examination->Id(2));
  specimen.CheckSalvage(*examination);
}

TEST_CASE("an examination can be ended early") {
  const Specimen specimen(Codec::kInt8, 5);
  const std::atomic<bool> cancelled{true};
  std::unique_ptr<SegmentExamination> examination;
  Limits limits;
  limits.cancelled = &cancelled;
  const Status status = SegmentExamination::Run(
      specimen.path, Expect(specimen.format, specimen.summary), limits, &examination);
  CHECK(CodeOf(status) == "ABORTED");
}
