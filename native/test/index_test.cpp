// Segments, tombstones and snapshots: what is written is read back, and nothing that is broken is.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fixtures.h"
#include "index/segment_reader.h"
#include "index/segment_writer.h"
#include "index/snapshot.h"
#include "index/tombstones.h"
#include "maxsim/codec.h"
#include "maxsim/rotation.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"
#include "platform/lock_file.h"

using namespace maxsim;
namespace fs = std::filesystem;

namespace {

// Rows of 9 values up to 1 are up to 3 long, and a rotation may point them along one dim.
constexpr VectorFormat kInt8Format{{Codec::kInt8, 3.f / 127}, 9};
constexpr VectorFormat kF32Format{{Codec::kF32, 1.f}, 9};

class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (fs::temp_directory_path() / "maxsim-index-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TempDirectory() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string str() const { return path_.string(); }
  size_t FileCount() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(path_), {}));
  }

 private:
  fs::path path_;
};

// Owns what FloatDocuments points to.
struct Corpus {
  std::vector<std::string> ids;
  std::vector<std::vector<float>> vectors;
  std::vector<std::vector<uint8_t>> records;

  void Add(const std::string& id, size_t tokens, Noise& noise, size_t dim = 9) {
    ids.push_back(id);
    vectors.push_back(noise.Floats(tokens * dim));
    records.push_back(noise.Bytes(ids.size() % 4 == 0 ? 0 : ids.size() * 3));
  }
  FloatDocuments Source(const VectorFormat& format) const {
    std::vector<FloatDocuments::Document> documents;
    for (size_t i = 0; i < ids.size(); i++) {
      documents.push_back({ids[i], vectors[i], records[i]});
    }
    return FloatDocuments(format, std::move(documents));
  }
};

Corpus SmallCorpus(size_t documents, uint64_t seed = 7) {
  Corpus corpus;
  Noise noise(seed);
  for (size_t i = 0; i < documents; i++) {
    corpus.Add("document-" + std::to_string(seed) + "-" + std::to_string(i), 1 + i % 3, noise);
  }
  return corpus;
}

std::vector<uint8_t> ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteAll(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
}

SegmentExpectation Expect(const VectorFormat& format, const SegmentSummary& summary) {
  return {format, summary.documents, summary.tokens, summary.header_crc32c};
}

SegmentSummary Write(const std::string& path, const VectorFormat& format, const Corpus& corpus) {
  SegmentSummary summary;
  FloatDocuments source = corpus.Source(format);
  REQUIRE(source.Validate().ok());
  const Status status = WriteSegment(path, format, source, &summary);
  CHECK_MESSAGE(status.ok(), status.message());
  return summary;
}

std::shared_ptr<const SegmentReader> Open(const std::string& path, const VectorFormat& format,
                                          const SegmentSummary& summary) {
  std::shared_ptr<const SegmentReader> reader;
  const Status status = SegmentReader::Open(path, Expect(format, summary), &reader);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return reader;
}

uint32_t Find(const SegmentReader& reader, const std::string& id) {
  return reader.Find(id, HashId(id, reader.header().id_hash_seed));
}

bool IsRefusal(const Status& status) {
  return !status.ok() && (std::string(status.code()) == "CORRUPT_INDEX" ||
                          std::string(status.code()) == "UNSUPPORTED_FORMAT");
}

}  // namespace

TEST_CASE("the id hash is SipHash-2-4 with the key (seed, 0)") {
  // From an implementation in another language that gives the vectors of the SipHash paper.
  std::string bytes;
  for (int i = 0; i < 15; i++) bytes.push_back(static_cast<char>(i));
  CHECK(HashId("", 0) == 0x1e924b9d737700d7u);
  CHECK(HashId("Hello world", 0) == 0xc9e8a3021f3822d9u);
  CHECK(HashId("a", 1) != HashId("a", 2));
  CHECK(HashId(bytes, 0x0706050403020100u) == 0xde25ac9eff95f4ecu);
}

TEST_CASE("a segment gives back every id, record and token it was given, in both codecs") {
  const TempDirectory directory;
  for (const VectorFormat& format : {kInt8Format, kF32Format}) {
    Corpus corpus = SmallCorpus(50);
    Noise noise(3);
    corpus.Add(std::string(512, 'x'), 70, noise);
    corpus.Add("\xC3\xA9\xE6\x97\xA5 \xF0\x9F\x8E\x89", 1, noise);
    const std::string path = directory / "s";
    const SegmentSummary summary = Write(path, format, corpus);
    const auto reader = Open(path, format, summary);
    CHECK(summary.size_bytes == fs::file_size(path));
    REQUIRE(reader->document_count() == corpus.ids.size());
    for (uint32_t i = 0; i < corpus.ids.size(); i++) {
      CHECK(Find(*reader, corpus.ids[i]) == i);
      CHECK(reader->Id(i) == corpus.ids[i]);
      const auto record = reader->Record(i);
      CHECK(std::vector<uint8_t>(record.begin(), record.end()) == corpus.records[i]);
      const MaxsimDocument document = reader->Document(i);
      REQUIRE(document.token_count == corpus.vectors[i].size() / format.dim);
      CHECK(reinterpret_cast<uintptr_t>(document.tokens) % kAlignment == 0);
      std::vector<float> decoded(corpus.vectors[i].size());
      DecodeTokens(format.tokens, static_cast<const uint8_t*>(document.tokens),
                   document.token_count, format.dim, decoded.data());
      // Half a step in each of the 9 rotated dims is at most a step and a half in any one.
      const float tolerance =
          format.tokens.codec == Codec::kF32 ? 0.f : format.tokens.scale * 1.51f;
      for (size_t d = 0; d < decoded.size(); d++) {
        CHECK(std::fabs(decoded[d] - corpus.vectors[i][d]) <= tolerance);
      }
    }
    CHECK(Find(*reader, "absent") == SegmentReader::kUnknown);
    CHECK(Find(*reader, "") == SegmentReader::kUnknown);
    CHECK(directory.FileCount() == 1);
  }
}

TEST_CASE("a segment cut short anywhere is refused") {
  const TempDirectory directory;
  const std::string path = directory / "s";
  const SegmentSummary summary = Write(path, kInt8Format, SmallCorpus(5));
  const std::vector<uint8_t> whole = ReadAll(path);
  for (size_t size = 0; size < whole.size(); size++) {
    WriteAll(path, std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(size)));
    std::shared_ptr<const SegmentReader> reader;
    const Status status = SegmentReader::Open(path, Expect(kInt8Format, summary), &reader);
    REQUIRE_MESSAGE(IsRefusal(status), "length ", size);
  }
  std::vector<uint8_t> longer = whole;
  longer.push_back(0);
  WriteAll(path, longer);
  std::shared_ptr<const SegmentReader> reader;
  CHECK(IsRefusal(SegmentReader::Open(path, Expect(kInt8Format, summary), &reader)));
}

TEST_CASE("a flip of any bit of a segment is found and its section named") {
  const TempDirectory directory;
  const std::string path = directory / "s";
  const SegmentSummary summary = Write(path, kInt8Format, SmallCorpus(5));
  const std::vector<uint8_t> whole = ReadAll(path);
  Noise noise(11);
  for (size_t i = 0; i < whole.size(); i++) {
    for (const unsigned flip : {1u << (noise.Next() >> 61), 0xFFu}) {
      std::vector<uint8_t> broken = whole;
      broken[i] = static_cast<uint8_t>(broken[i] ^ flip);
      WriteAll(path, broken);
      std::shared_ptr<const SegmentReader> reader;
      const Status status = SegmentReader::Open(path, Expect(kInt8Format, summary), &reader);
      REQUIRE_MESSAGE(IsRefusal(status), "byte ", i);
      CHECK(status.message().find(path) == 0);
    }
  }
}

// What an attacker writes has right checksums. Nothing of it may be believed.
TEST_CASE("a segment whose checksums are right but whose numbers lie is refused") {
  const TempDirectory directory;
  const std::string path = directory / "s";
  const SegmentSummary summary = Write(path, kInt8Format, SmallCorpus(5));
  const std::vector<uint8_t> whole = ReadAll(path);
  Noise noise(12);
  const uint64_t extremes[] = {0,
                               1,
                               63,
                               64,
                               1u << 16,
                               0x7FFFFFFF,
                               0xFFFFFFFF,
                               uint64_t{1} << 63,
                               ~uint64_t{0},
                               ~uint64_t{63}};
  size_t accepted = 0;
  for (int round = 0; round < 20000; round++) {
    std::vector<uint8_t> lie = whole;
    SegmentHeader header;
    std::memcpy(&header, lie.data(), sizeof(header));
    // A field of the header, the document table or the id table takes an extreme value.
    const Section section = round % 3 == 0 ? kDocuments : kIdTable;
    const bool in_header = round % 3 == 2;
    const uint64_t start = in_header ? 16 : header.sections[section].offset;
    const uint64_t size = in_header ? 236 : header.sections[section].size;
    const size_t width = noise.Next() % 2 == 0 ? 4 : 8;
    const uint64_t at = start + noise.Next() % (size / 4) * 4;
    const uint64_t value = noise.Next() % 3 == 0 ? noise.Next() >> (noise.Next() % 64)
                                                 : extremes[noise.Next() % std::size(extremes)];
    if (at + width > start + size) continue;
    std::memcpy(lie.data() + at, &value, width);
    std::memcpy(&header, lie.data(), sizeof(header));
    for (SectionEntry& entry : header.sections) {
      if (entry.offset <= lie.size() && entry.size <= lie.size() - entry.offset) {
        entry.crc32c = Crc32c(lie.data() + entry.offset, entry.size);
      }
    }
    header.crc32c = Crc32c(&header, offsetof(SegmentHeader, crc32c));
    std::memcpy(lie.data(), &header, sizeof(header));
    WriteAll(path, lie);
    SegmentExpectation expected = Expect(kInt8Format, summary);
    expected.header_crc32c = header.crc32c;
    std::shared_ptr<const SegmentReader> reader;
    const Status status = SegmentReader::Open(path, expected, &reader);
    if (!status.ok()) {
      REQUIRE(IsRefusal(status));
      continue;
    }
    accepted += 1;  // the value was the old one, or a seed or reserved field
    for (uint32_t i = 0; i < reader->document_count(); i++) {
      CHECK(Find(*reader, std::string(reader->Id(i))) == i);
    }
  }
  CHECK(accepted < 5000);
}

TEST_CASE("a newer segment version is named, together with the one that is read") {
  const TempDirectory directory;
  const std::string path = directory / "s";
  const SegmentSummary summary = Write(path, kInt8Format, SmallCorpus(2));
  std::vector<uint8_t> bytes = ReadAll(path);
  bytes[8] = 2;
  WriteAll(path, bytes);
  std::shared_ptr<const SegmentReader> reader;
  const Status status = SegmentReader::Open(path, Expect(kInt8Format, summary), &reader);
  CHECK(std::string(status.code()) == "UNSUPPORTED_FORMAT");
  CHECK(status.message().find("version 2; this release of maxsim reads version 1") !=
        std::string::npos);
}

TEST_CASE("a segment that is not the one of the manifest is refused") {
  const TempDirectory directory;
  const std::string path = directory / "s";
  const SegmentSummary summary = Write(path, kInt8Format, SmallCorpus(3));
  std::shared_ptr<const SegmentReader> reader;
  for (int field = 0; field < 6; field++) {
    SegmentExpectation expected = Expect(kInt8Format, summary);
    if (field == 0) expected.documents++;
    if (field == 1) expected.tokens--;
    if (field == 2) expected.header_crc32c ^= 1;
    if (field == 3) expected.format.dim = 10;
    if (field == 4) expected.format.tokens.scale *= 2;
    if (field == 5) expected.format.tokens.codec = Codec::kF32;
    CHECK(IsRefusal(SegmentReader::Open(path, expected, &reader)));
  }
}

TEST_CASE("a segment refuses an id twice, an id too long and vectors that are not usable") {
  const TempDirectory directory;
  SegmentSummary summary;
  Noise noise(5);
  Corpus twice = SmallCorpus(3);
  twice.Add(twice.ids[1], 1, noise);
  FloatDocuments source = twice.Source(kInt8Format);
  CHECK(!WriteSegment(directory / "s", kInt8Format, source, &summary).ok());
  Corpus longer;
  longer.Add(std::string(513, 'x'), 1, noise);
  FloatDocuments long_source = longer.Source(kInt8Format);
  CHECK(!WriteSegment(directory / "s", kInt8Format, long_source, &summary).ok());
  Corpus bad = SmallCorpus(3);
  bad.vectors[2][4] = NAN;
  CHECK(std::string(bad.Source(kF32Format).Validate().code()) == "INVALID_VECTORS");
  CHECK(std::string(bad.Source(kInt8Format).Validate().code()) == "INVALID_VECTORS");
  bad.vectors[2].pop_back();
  CHECK(std::string(bad.Source(kF32Format).Validate().code()) == "INVALID_VECTORS");
  CHECK(directory.FileCount() == 0);
}

TEST_CASE(
    "a component beyond the int8 range is clamped in a unit-length token and refused in others") {
  constexpr VectorFormat narrow{{Codec::kInt8, 0.5f / 127}, 9};
  Corpus corpus;
  corpus.ids = {"unit"};
  corpus.vectors = {{0.8f, 0.6f, 0, 0, 0, 0, 0, 0, 0}};
  RotateBack(corpus.vectors[0].data(), 9);  // what the codec sees is the rotated token
  corpus.records = {{}};
  FloatDocuments source = corpus.Source(narrow);
  CHECK(source.Validate().ok());
  source.Tokens(0);
  CHECK(source.clipped() == 2);
  constexpr VectorFormat narrower{{Codec::kInt8, 0.3f / 127}, 9};
  CHECK(std::string(corpus.Source(narrower).Validate().code()) == "VECTOR_OUT_OF_RANGE");
  for (float& x : corpus.vectors[0]) x *= 1.1f;
  const Status status = corpus.Source(narrow).Validate();
  CHECK(std::string(status.code()) == "VECTOR_OUT_OF_RANGE");
  CHECK(status.message().find("\"unit\": token 0 has length 1.1 and a component of 0.88") !=
        std::string::npos);
  CHECK(corpus.Source(kF32Format).Validate().ok());
}

TEST_CASE("tombstones survive the trip and every broken byte or length of theirs is found") {
  const TempDirectory directory;
  const std::string path = directory / "t";
  const std::vector<uint32_t> dead = {0, 7, 8, 12, 12};
  uint64_t count = 0;
  REQUIRE(Tombstones::Write(path, 13, dead, &count).ok());
  CHECK(count == 4);
  std::shared_ptr<const Tombstones> tombstones;
  REQUIRE(Tombstones::Open(path, 13, 4, &tombstones).ok());
  CHECK(tombstones->Ordinals() == std::vector<uint32_t>{0, 7, 8, 12});
  CHECK(tombstones->IsDead(8));
  CHECK(!tombstones->IsDead(9));
  CHECK(IsRefusal(Tombstones::Open(path, 13, 3, &tombstones)));
  CHECK(IsRefusal(Tombstones::Open(path, 14, 4, &tombstones)));
  const std::vector<uint8_t> whole = ReadAll(path);
  for (size_t i = 0; i < whole.size(); i++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      std::vector<uint8_t> broken = whole;
      broken[i] = static_cast<uint8_t>(broken[i] ^ (1u << bit));
      WriteAll(path, broken);
      REQUIRE_MESSAGE(IsRefusal(Tombstones::Open(path, 13, 4, &tombstones)), "byte ", i);
    }
    WriteAll(path, std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(i)));
    REQUIRE_MESSAGE(IsRefusal(Tombstones::Open(path, 13, 4, &tombstones)), "length ", i);
  }
  CHECK(!Tombstones::Write(path, 13, std::vector<uint32_t>{13}, &count).ok());
}

namespace {

struct Store {
  TempDirectory directory;
  std::vector<SegmentSpec> specs;

  void Add(const std::string& file, const Corpus& corpus) {
    const SegmentSummary summary = Write(directory / file, kInt8Format, corpus);
    specs.push_back({file, summary.documents, summary.tokens, summary.header_crc32c, "", 0});
  }
  void Bury(size_t segment, std::vector<uint32_t> dead) {
    SegmentSpec& spec = specs[segment];
    spec.dead_file = spec.file + ".1.dead";
    REQUIRE(Tombstones::Write(directory / spec.dead_file, static_cast<uint32_t>(spec.documents),
                              dead, &spec.dead_count)
                .ok());
  }
  std::shared_ptr<const Snapshot> Open(const Snapshot* previous = nullptr) const {
    std::shared_ptr<const Snapshot> snapshot;
    bool missing;
    const Status status =
        Snapshot::Open(directory.str(), kInt8Format, specs, previous, &snapshot, &missing);
    REQUIRE_MESSAGE(status.ok(), status.message());
    return snapshot;
  }
};

PreparedQuery SmallQuery() {
  Noise noise(99);
  return PreparedQuery(noise.Floats(3 * 9).data(), 3, 9, 8);
}

}  // namespace

TEST_CASE("a snapshot finds, counts, scores and searches live documents only") {
  Store store;
  const Corpus first = SmallCorpus(300, 1), second = SmallCorpus(300, 2);
  store.Add("a", first);
  store.Add("b", second);
  store.Bury(0, {0, 5, 299});
  const auto snapshot = store.Open();
  CHECK(snapshot->live_count() == 597);
  CHECK(snapshot->ref_count() == 600);
  CHECK(snapshot->live_tokens() == store.specs[0].tokens + store.specs[1].tokens - 1 - 3 - 3);
  CHECK(snapshot->Find(first.ids[5]) == Snapshot::kUnknown);
  CHECK(snapshot->Find(first.ids[6]) == 6);
  CHECK(snapshot->Find(second.ids[6]) == 306);

  const PreparedQuery query = SmallQuery();
  std::vector<ScoredDocument> best;
  REQUIRE(snapshot->Search(query, 1000, {}, &best).ok());
  REQUIRE(best.size() == 597);
  std::vector<uint32_t> refs;
  for (const ScoredDocument& document : best) refs.push_back(document.document);
  std::vector<float> scores(refs.size());
  REQUIRE(snapshot->Score(query, refs, {}, Threads::kShared, scores.data()).ok());
  for (size_t i = 0; i < best.size(); i++) {
    CHECK(scores[i] == best[i].score);
    CHECK(best[i].document != 5);
    if (i > 0) CHECK(best[i - 1].score >= best[i].score);
  }
  for (const uint32_t bad : {5u, 600u, 0xFFFFFFFFu}) {
    const uint32_t one[] = {bad};
    CHECK(std::string(snapshot->Score(query, one, {}, Threads::kCaller, scores.data()).code()) ==
          "INVALID_ARGUMENT");
  }
  Noise noise(1);
  const PreparedQuery other(noise.Floats(10).data(), 1, 10, 8);
  CHECK(std::string(snapshot->Search(other, 1, {}, &best).code()) == "MODEL_MISMATCH");
}

TEST_CASE("a scan stops when it is cancelled or late") {
  Store store;
  store.Add("a", SmallCorpus(300, 1));
  const auto snapshot = store.Open();
  const PreparedQuery query = SmallQuery();
  std::vector<ScoredDocument> best;
  const std::atomic<bool> cancelled{true};
  CHECK(std::string(snapshot->Search(query, 5, {&cancelled, {}}, &best).code()) == "ABORTED");
  CHECK(std::string(snapshot->Search(query, 5, {nullptr, std::chrono::steady_clock::now()}, &best)
                        .code()) == "ABORTED");
}

TEST_CASE("a merge keeps live ids, records and token bytes as they are") {
  Store store;
  const Corpus first = SmallCorpus(20, 1), second = SmallCorpus(30, 2);
  store.Add("a", first);
  store.Add("b", second);
  store.Bury(1, {3, 4});
  const auto before = store.Open();
  const uint32_t segments[] = {0, 1};
  LiveDocuments source(before, segments);
  SegmentSummary summary;
  REQUIRE(WriteSegment(store.directory / "c", kInt8Format, source, &summary).ok());
  CHECK(summary.documents == 48);
  store.specs = {{"c", summary.documents, summary.tokens, summary.header_crc32c, "", 0}};
  const auto after = store.Open(before.get());
  const PreparedQuery query = SmallQuery();
  for (const Corpus* corpus : {&first, &second}) {
    for (const std::string& id : corpus->ids) {
      const uint32_t old_ref = before->Find(id), new_ref = after->Find(id);
      REQUIRE((old_ref == Snapshot::kUnknown) == (new_ref == Snapshot::kUnknown));
      if (old_ref == Snapshot::kUnknown) continue;
      float old_score, new_score;
      REQUIRE(before->Score(query, std::span(&old_ref, 1), {}, Threads::kCaller, &old_score).ok());
      REQUIRE(after->Score(query, std::span(&new_ref, 1), {}, Threads::kShared, &new_score).ok());
      CHECK(old_score == new_score);
    }
  }
}

TEST_CASE("a snapshot takes over what the previous one has mapped, and outlives its files") {
  Store store;
  const Corpus corpus = SmallCorpus(10, 1);
  store.Add("a", corpus);
  const auto before = store.Open();
  fs::remove(store.directory / "a");
  const auto after = store.Open(before.get());
  CHECK(after->segments()[0].reader == before->segments()[0].reader);
  CHECK(after->Find(corpus.ids[3]) == 3);
  std::shared_ptr<const Snapshot> fresh;
  bool missing = false;
  CHECK(!Snapshot::Open(store.directory.str(), kInt8Format, store.specs, nullptr, &fresh, &missing)
             .ok());
  CHECK(missing);
}

namespace {

int fault_after = 0;
std::string fault_operation;

int FailOnce(const char* operation, const char*) {
  if (fault_after-- > 0) return 0;
  fault_operation = operation;
  return ENOSPC;
}

}  // namespace

TEST_CASE("a full disk at any operation is named and leaves nothing behind before the rename") {
  const TempDirectory directory;
  const Corpus corpus = SmallCorpus(5);
  bool done = false;
  for (int operations = 0; !done; operations++) {
    fault_after = operations;
    fault_operation.clear();
    SetFaultHook(FailOnce);
    FloatDocuments source = corpus.Source(kInt8Format);
    SegmentSummary summary;
    const Status status = WriteSegment(directory / "s", kInt8Format, source, &summary);
    SetFaultHook(nullptr);
    done = status.ok();
    if (done) continue;
    CHECK(std::string(status.code()) == "IO_ERROR");
    CHECK(status.message().find("the disk is full (ENOSPC") != std::string::npos);
    CHECK(directory.FileCount() == (fault_operation == "fsync directory" ? 1 : 0));
    fs::remove(directory / "s");
  }
}

TEST_CASE("a lock excludes a second one in the same process and names the holder") {
  const TempDirectory directory;
  std::unique_ptr<LockFile> first, second;
  long pid = -1;
  REQUIRE(LockFile::Acquire(directory / "lock", &first, &pid).ok());
  const Status status = LockFile::Acquire(directory / "lock", &second, &pid);
  CHECK(std::string(status.code()) == "INDEX_LOCKED");
  CHECK(pid == static_cast<long>(getpid()));
  first.reset();
  CHECK(LockFile::Acquire(directory / "lock", &second, &pid).ok());
}
