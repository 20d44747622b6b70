// Codes files: what is written is what the documents hold, what a merge takes over is the same, and
// nothing that is broken is read.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <set>

#include "index/codes_reader.h"
#include "index/codes_writer.h"
#include "index_fixtures.h"
#include "maxsim/rotation.h"
#include "platform/crc32c.h"

using namespace maxsim;

namespace {

constexpr uint32_t kCentroids = 40;

struct Coded {
  CodesSummary summary;
  std::shared_ptr<const CodesReader> reader;
};

Status OpenCodes(const std::string& path, const CodesExpectation& expected,
                 std::shared_ptr<const CodesReader>* reader) {
  std::unique_ptr<MappedFile> file;
  Status status = MappedFile::Open(path, &file);
  if (status.ok()) status = CodesReader::Open(std::move(file), expected, reader);
  return status.ok() ? (*reader)->VerifyWhole() : status;
}

CodesExpectation ExpectCodes(const Snapshot::Segment& segment, const Codebook& codebook,
                             uint32_t header_crc32c) {
  return {segment.reader->document_count(), header_crc32c, segment.reader->header().crc32c,
          CodebookCrc32c(codebook), codebook.contents().centroid_count};
}

Coded Code(const std::string& path, const Snapshot::Segment& segment, const Codebook& codebook,
           const CodesSource& source = {}, CodesOptions::Lists lists = CodesOptions::Lists::kAlways,
           bool background = false) {
  Coded coded;
  CodesOptions options;
  options.lists = lists;
  options.background = background;
  Status status = WriteCodes(path, segment, codebook, CodebookCrc32c(codebook), source, options,
                             &coded.summary);
  REQUIRE_MESSAGE(status.ok(), status.message());
  status =
      OpenCodes(path, ExpectCodes(segment, codebook, coded.summary.header_crc32c), &coded.reader);
  REQUIRE_MESSAGE(status.ok(), status.message());
  CHECK(coded.summary.size_bytes == std::filesystem::file_size(path));
  return coded;
}

std::vector<uint32_t> CodesOf(const CodesReader& reader, uint32_t document) {
  const MaxsimCodes codes = reader.codes();
  std::vector<uint32_t> all;
  for (uint32_t i = codes.starts[document]; i < codes.starts[document + 1]; i++) {
    all.push_back(codes.code_bytes == 2 ? static_cast<const uint16_t*>(codes.codes)[i]
                                        : static_cast<const uint32_t*>(codes.codes)[i]);
  }
  return all;
}

void CheckTransposed(const CodesReader& reader) {
  const auto documents = static_cast<uint32_t>(reader.header().document_count);
  std::vector<std::vector<uint32_t>> by_document(documents);
  for (uint32_t block = 0; block < reader.list_blocks(); block++) {
    for (uint32_t c = 0; c < reader.header().centroid_count; c++) {
      for (const uint16_t ordinal : reader.List(block, c)) {
        by_document[block * kListBlock + ordinal].push_back(c);
      }
    }
  }
  for (uint32_t i = 0; i < documents; i++) REQUIRE(by_document[i] == CodesOf(reader, i));
}

// Whether each token of a live document has a centroid among its document's within its bound.
void CheckBounds(const Snapshot::Segment& segment, const CodesReader& reader,
                 const Codebook& codebook) {
  REQUIRE(reader.bounds().size() == codebook.contents().centroid_count);
  const VectorFormat& format = segment.reader->format();
  const size_t dim = format.dim, padded = PaddedDim(dim);
  for (uint32_t i = 0; i < segment.reader->document_count(); i++) {
    if (segment.IsDead(i)) continue;
    const MaxsimDocument document = TokensOf(*segment.reader, i);
    std::vector<float> tokens(document.token_count * dim);
    DecodeTokens(format.tokens, static_cast<const uint8_t*>(document.tokens), document.token_count,
                 dim, tokens.data());
    for (size_t t = 0; t < document.token_count; t++) {
      Rotate(&tokens[t * dim], dim);
      bool within = false;
      for (const uint32_t c : CodesOf(reader, i)) {
        double dot = 0, squares = 0, lengths = 0;
        for (size_t d = 0; d < dim; d++) {
          const double value = tokens[t * dim + d];
          const double row = codebook.contents().rows[c * padded + d] - 128.;
          dot += value * row;
          squares += row * row;
          lengths += value * value;
        }
        const double cosine = dot / std::sqrt(squares * lengths);
        const double angle = std::acos(std::clamp(cosine, -1., 1.));
        within |= angle <= reader.bounds()[c] * std::numbers::pi / 255;
      }
      REQUIRE(within);
    }
  }
}

void Reseal(std::vector<uint8_t>* file) {
  CodesHeader header;
  std::memcpy(&header, file->data(), sizeof(header));
  for (SectionEntry& section : header.sections) {
    if (section.offset + section.size > file->size()) continue;
    section.crc32c = Crc32c(file->data() + section.offset, section.size);
  }
  header.crc32c = Crc32c(&header, offsetof(CodesHeader, crc32c));
  std::memcpy(file->data(), &header, sizeof(header));
}

struct Sample {
  Store store;
  std::shared_ptr<const Codebook> codebook = RandomCodebook(4, kDim, kCentroids, 3);
  std::shared_ptr<const Snapshot> snapshot;

  explicit Sample(const VectorFormat& format = kF32Format, size_t documents = 70) {
    store.format = format;
    store.Add("a", SmallCorpus(documents, 1));
    store.Add("b", SmallCorpus(documents / 2, 2));
    store.Bury(0, {0, 5});
    snapshot = store.Open();
  }
  const Snapshot::Segment& segment(size_t i = 0) const { return snapshot->segments()[i]; }
};

}  // namespace

TEST_CASE("codes are the distinct nearest centroids of each live document, lists their transpose") {
  for (const Codec codec : {Codec::kF32, Codec::kInt8, Codec::kR4, Codec::kR1}) {
    const Sample sample(IndexFormat(codec));
    const VectorFormat& format = sample.store.format;
    for (const bool own : {false, true}) {
      const Codebook* codebook = own ? format.tokens.codebook.get() : sample.codebook.get();
      if (codebook == nullptr) continue;
      const Coded coded = Code(sample.store.directory / "codes", sample.segment(), *codebook);
      const CodesReader& reader = *coded.reader;
      for (uint32_t i = 0; i < 70; i++) {
        std::set<uint32_t> expected;
        const MaxsimDocument document = TokensOf(*sample.segment().reader, i);
        std::vector<float> tokens(document.token_count * kDim), cosines(document.token_count);
        std::vector<uint32_t> ids(document.token_count);
        const auto* block = static_cast<const uint8_t*>(document.tokens);
        DecodeTokens(format.tokens, block, document.token_count, kDim, tokens.data());
        codebook->Assign(tokens.data(), document.token_count, ids.data(), cosines.data());
        for (uint32_t t = 0; own && t < document.token_count; t++) {
          Codebook::Token token;
          codebook->Read(block, document.token_count, t, &token);
          ids[t] = token.centroid;
        }
        if (!sample.segment().IsDead(i)) expected.insert(ids.begin(), ids.end());
        REQUIRE(CodesOf(reader, i) == std::vector<uint32_t>(expected.begin(), expected.end()));
      }
      CHECK(reader.list_blocks() == 1);
      CheckTransposed(reader);
      CheckBounds(sample.segment(), reader, *codebook);
      const double mean =
          reader.header().cosine_sum / static_cast<double>(reader.header().token_count);
      CHECK(mean > 0.2);
      CHECK(mean <= 1);
      // The same bytes whoever shares the work.
      Code(sample.store.directory / "again", sample.segment(), *codebook, {},
           CodesOptions::Lists::kAlways, true);
      CHECK(ReadAll(sample.store.directory / "again") == ReadAll(sample.store.directory / "codes"));
    }
  }
}

TEST_CASE("codes take 4 bytes beyond 65,536 centroids, lists and bounds only where they pay") {
  const Sample sample;
  const auto many = RandomCodebook(1, kDim, 65537, 3);
  const Coded coded = Code(sample.store.directory / "codes", sample.segment(), *many, {},
                           CodesOptions::Lists::kAuto);
  CHECK(coded.reader->codes().code_bytes == 4);
  CHECK(coded.reader->list_blocks() == 0);
  CHECK(coded.reader->bounds().empty());
}

TEST_CASE("a merge takes codes over, codes what has none, and bounds hold for all") {
  const Sample sample;
  Store& store = const_cast<Store&>(sample.store);
  const auto code = [&](size_t i, const std::string& name) {
    const Coded coded = Code(store.directory / name, sample.segment(i), *sample.codebook, {},
                             CodesOptions::Lists::kNever);
    store.specs[i].codes_file = name;
    store.specs[i].codes_crc32c = coded.summary.header_crc32c;
  };
  const SearchCodebook search{sample.codebook, CodebookCrc32c(*sample.codebook)};
  for (const size_t coded : {1, 2}) {
    for (size_t i = 0; i < coded; i++) code(i, "codes-" + std::to_string(i));
    std::shared_ptr<const Snapshot> from;
    bool missing;
    Status status = Snapshot::Open(store.directory.str(), store.format, store.specs, {}, nullptr,
                                   &from, &missing, search);
    REQUIRE_MESSAGE(status.ok(), status.message());
    CHECK(from->search_codebook().codebook == sample.codebook);
    const std::vector<uint32_t> all{0, 1};
    LiveDocuments live(from, all);
    Store merged;
    merged.format = store.format;
    merged.Add("m", WriteSource(merged.directory / "m", store.format, live));
    const auto snapshot = merged.Open();
    const Snapshot::Segment& segment = snapshot->segments()[0];
    const Coded over =
        Code(merged.directory / "over", segment, *sample.codebook, {from.get(), all});
    const Coded anew = Code(merged.directory / "anew", segment, *sample.codebook);
    for (uint32_t i = 0; i < segment.reader->document_count(); i++) {
      REQUIRE(CodesOf(*over.reader, i) == CodesOf(*anew.reader, i));
    }
    CHECK(over.reader->header().token_count == anew.reader->header().token_count);
    CheckBounds(segment, *over.reader, *sample.codebook);
    // Of other sources nothing is taken.
    CodesSummary summary;
    const std::vector<uint32_t> first{0};
    status = WriteCodes(merged.directory / "x", segment, *sample.codebook, search.crc32c,
                        {from.get(), first}, {}, &summary);
    CHECK(CodeOf(status) == "INVALID_ARGUMENT");
    // The same codes in a snapshot of another codebook are no codes of it.
    std::shared_ptr<const Snapshot> other;
    status = Snapshot::Open(store.directory.str(), store.format, store.specs, {}, from.get(),
                            &other, &missing, {RandomCodebook(4, kDim, kCentroids, 8), 77});
    CHECK(CodeOf(status) == "CORRUPT_INDEX");
    status = Snapshot::Open(store.directory.str(), store.format, store.specs, {}, from.get(),
                            &other, &missing, search);
    REQUIRE(status.ok());
    CHECK(other->segments()[0].codes == from->segments()[0].codes);
  }
}

TEST_CASE("a flip of any byte of a codes file is found, and so is every other length") {
  const Sample sample(kF32Format, 12);
  const std::string path = sample.store.directory / "codes";
  const Coded coded = Code(path, sample.segment(), *sample.codebook);
  const CodesExpectation expected =
      ExpectCodes(sample.segment(), *sample.codebook, coded.summary.header_crc32c);
  const std::vector<uint8_t> whole = ReadAll(path);
  std::shared_ptr<const CodesReader> reader;
  for (size_t i = 0; i < whole.size(); i++) {
    for (const unsigned flip : {1u, 0xffu}) {
      std::vector<uint8_t> broken = whole;
      broken[i] = static_cast<uint8_t>(broken[i] ^ flip);
      WriteAll(path, broken);
      const Status status = OpenCodes(path, expected, &reader);
      REQUIRE_MESSAGE(IsRefusal(status), "byte ", i);
      CHECK(status.message().find(path) == 0);
    }
  }
  for (size_t size = 0; size < whole.size() + 64; size += size < 300 ? 1 : 7) {
    if (size == whole.size()) continue;
    std::vector<uint8_t> other = whole;
    other.resize(size);
    WriteAll(path, other);
    REQUIRE(CodeOf(OpenCodes(path, expected, &reader)) == "CORRUPT_INDEX");
  }
}

TEST_CASE("codes whose checksums are right but whose numbers lie are refused") {
  const Sample sample(kF32Format, 12);
  const std::string path = sample.store.directory / "codes";
  const Coded coded = Code(path, sample.segment(), *sample.codebook);
  const CodesHeader header = coded.reader->header();
  const std::vector<uint8_t> whole = ReadAll(path);
  const auto refusal = [&](size_t at, auto value) {
    std::vector<uint8_t> lie = whole;
    std::memcpy(&lie[at], &value, sizeof(value));
    Reseal(&lie);
    WriteAll(path, lie);
    uint32_t crc;
    std::memcpy(&crc, &lie[offsetof(CodesHeader, crc32c)], sizeof(crc));
    std::shared_ptr<const CodesReader> reader;
    const Status status =
        OpenCodes(path, ExpectCodes(sample.segment(), *sample.codebook, crc), &reader);
    return CodeOf(status) == "CORRUPT_INDEX" ? status.message() : std::string();
  };
  const auto refused = [&](size_t at, auto value) { return !refusal(at, value).empty(); };
  CHECK(!refused(offsetof(CodesHeader, cosine_sum), 1.));  // which may be anything
  CHECK(refused(offsetof(CodesHeader, version), uint32_t{0}));
  CHECK(refused(offsetof(CodesHeader, header_size), uint32_t{128}));
  CHECK(refused(offsetof(CodesHeader, document_count), uint64_t{13}));
  CHECK(refused(offsetof(CodesHeader, code_count), header.code_count + 1));
  CHECK(refused(offsetof(CodesHeader, code_count), UINT64_MAX));
  CHECK(refused(offsetof(CodesHeader, file_size), uint64_t{0}));
  CHECK(refused(offsetof(CodesHeader, centroid_count), kCentroids + 1));
  CHECK(refused(offsetof(CodesHeader, code_bytes), uint32_t{4}));
  CHECK(refused(offsetof(CodesHeader, codebook_crc32c), uint32_t{1}));
  CHECK(refused(offsetof(CodesHeader, segment_crc32c), uint32_t{1}));
  CHECK(refused(offsetof(CodesHeader, list_blocks), uint32_t{2}));
  CHECK(refused(offsetof(CodesHeader, reserved0), uint32_t{1}));
  CHECK(refused(offsetof(CodesHeader, reserved) + 3, uint8_t{1}));
  CHECK(refused(offsetof(CodesHeader, sections) + sizeof(SectionEntry), uint64_t{64}));
  const auto at = [&](CodesSection section) { return header.sections[section].offset; };
  CHECK(refusal(at(kStarts), uint32_t{1}).find("corrupt starts at byte 256: 1 found") !=
        std::string::npos);
  CHECK(refusal(at(kStarts) + 8, UINT32_MAX).find("corrupt starts") != std::string::npos);
  CHECK(refusal(at(kCodes), uint16_t{kCentroids}).find("corrupt codes at byte") !=
        std::string::npos);
  // Document 2 has three tokens: a code twice, and two in the wrong order.
  const std::vector<uint32_t> codes = CodesOf(*coded.reader, 2);
  REQUIRE(codes.size() >= 2);
  const size_t place = at(kCodes) + coded.reader->codes().starts[2] * sizeof(uint16_t);
  CHECK(refused(place, static_cast<uint16_t>(codes[1])));
  CHECK(refused(place, static_cast<uint32_t>(codes[1] | codes[0] << 16)));
  CHECK(refused(at(kListStarts) + 4, uint32_t{200}));
  CHECK(refused(at(kLists), uint16_t{11}));
  CHECK(refused(at(kLists), uint16_t{60000}));
}

TEST_CASE("writing codes ends when it is cancelled, and leaves no file") {
  const Sample sample;
  const size_t files = sample.store.directory.FileCount();
  const std::atomic<bool> cancelled{true};
  CodesOptions options;
  options.cancelled = &cancelled;
  CodesSummary summary;
  const Status status = WriteCodes(sample.store.directory / "codes", sample.segment(),
                                   *sample.codebook, 1, {}, options, &summary);
  CHECK(CodeOf(status) == "ABORTED");
  CHECK(sample.store.directory.FileCount() == files);
}
