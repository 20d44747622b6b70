// What the tests of the index share: directories that go away, documents of noise, and stores of
// segments.
#ifndef MAXSIM_TEST_INDEX_FIXTURES_H_
#define MAXSIM_TEST_INDEX_FIXTURES_H_

#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fixtures.h"
#include "formats.h"
#include "index/codebook_file.h"
#include "index/search.h"
#include "index/segment_reader.h"
#include "index/segment_writer.h"
#include "index/snapshot.h"
#include "index/tombstones.h"

namespace maxsim {

inline constexpr size_t kDim = 9;

// Rows of 9 values up to 1 are up to 3 long, and a rotation may point them along one dim.
inline VectorFormat IndexFormat(Codec codec, size_t dim = kDim) {
  const TokenFormat tokens = FormatOf(codec, dim);
  return {tokens, static_cast<uint32_t>(dim),
          tokens.codebook == nullptr ? 0 : CodebookCrc32c(*tokens.codebook)};
}
inline const VectorFormat kInt8Format = IndexFormat(Codec::kInt8);
inline const VectorFormat kF32Format = IndexFormat(Codec::kF32);

// In memory where a directory is, because some tests write thousands of broken files.
class TempDirectory {
 public:
  TempDirectory() {
    std::error_code none;
    const std::filesystem::path memory = "/dev/shm";
    const bool in_memory = std::getenv("TMPDIR") == nullptr && is_directory(memory, none);
    const auto parent = in_memory ? memory : std::filesystem::temp_directory_path();
    std::string pattern = (parent / "maxsim-index-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TempDirectory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string str() const { return path_.string(); }
  size_t FileCount() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

// Owns what FloatDocuments points to.
struct Corpus {
  std::vector<std::string> ids;
  std::vector<std::vector<float>> vectors;
  std::vector<std::vector<uint8_t>> records;

  void Add(const std::string& id, size_t tokens, Noise& noise, size_t dim = kDim) {
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

inline Corpus SmallCorpus(size_t documents, uint64_t seed = 7) {
  Corpus corpus;
  Noise noise(seed);
  for (size_t i = 0; i < documents; i++) {
    corpus.Add("document-" + std::to_string(seed) + "-" + std::to_string(i), 1 + i % 3, noise);
  }
  return corpus;
}

inline std::vector<uint8_t> ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteAll(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
}

inline SegmentExpectation Expect(const VectorFormat& format, const SegmentSummary& summary) {
  return {format, summary.documents, summary.tokens, summary.header_crc32c};
}

inline SegmentSummary WriteSource(const std::string& path, const VectorFormat& format,
                                  DocumentSource& source) {
  SegmentSummary summary;
  const Status status = WriteSegment(path, format, source, &summary);
  CHECK_MESSAGE(status.ok(), status.message());
  return summary;
}

inline SegmentSummary Write(const std::string& path, const VectorFormat& format,
                            const Corpus& corpus) {
  FloatDocuments source = corpus.Source(format);
  const Status status = source.Validate();
  REQUIRE_MESSAGE(status.ok(), status.message());
  return WriteSource(path, format, source);
}

inline constexpr ReadOptions kVerifyAll{ReadOptions::Verify::kAtOpen, ReadOptions::Memory::kMapped};

inline std::shared_ptr<const SegmentReader> Open(const std::string& path,
                                                 const VectorFormat& format,
                                                 const SegmentSummary& summary) {
  std::shared_ptr<const SegmentReader> reader;
  const Status status = SegmentReader::Open(path, Expect(format, summary), kVerifyAll, &reader);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return reader;
}

inline MaxsimDocument TokensOf(const SegmentReader& reader, uint32_t ordinal) {
  MaxsimDocument document;
  const Status status = reader.Tokens(ordinal, &document);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return document;
}

inline std::span<const uint8_t> RecordOf(const SegmentReader& reader, uint32_t ordinal) {
  std::span<const uint8_t> record;
  const Status status = reader.Record(ordinal, &record);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return record;
}

inline uint32_t Find(const SegmentReader& reader, const std::string& id) {
  return reader.Find(id, HashId(id, reader.header().id_hash_seed));
}

inline bool IsRefusal(const Status& status) {
  return !status.ok() && (std::string(status.code()) == "CORRUPT_INDEX" ||
                          std::string(status.code()) == "UNSUPPORTED_FORMAT");
}

inline std::string CodeOf(const Status& status) { return status.ok() ? "" : status.code(); }

inline Status SearchAll(const Snapshot& snapshot, const PreparedQuery& query,
                        const RankOptions& rank, const Limits& limits, Ranking* ranking,
                        const Filter* filter = nullptr) {
  SearchOptions options;
  options.rank = rank;
  SearchReport report;
  return snapshot.Search(query, options, limits, ranking, &report, filter);
}

// Segments of one format in a directory of their own.
struct Store {
  TempDirectory directory;
  VectorFormat format = kInt8Format;
  std::vector<SegmentSpec> specs;

  void Add(const std::string& file, const Corpus& corpus) {
    Add(file, Write(directory / file, format, corpus));
  }
  void Add(const std::string& file, const SegmentSummary& summary) {
    specs.push_back({file, summary.documents, summary.tokens, summary.header_crc32c, "", 0, "", 0});
  }
  void Bury(size_t segment, std::vector<uint32_t> dead) {
    SegmentSpec& spec = specs[segment];
    spec.dead_file = spec.file + ".1.dead";
    REQUIRE(Tombstones::Write(directory / spec.dead_file, static_cast<uint32_t>(spec.documents),
                              dead, &spec.dead_count)
                .ok());
  }
  std::shared_ptr<const Snapshot> Open(const Snapshot* previous = nullptr,
                                       const ReadOptions& options = {}) const {
    std::shared_ptr<const Snapshot> snapshot;
    bool missing;
    const Status status =
        Snapshot::Open(directory.str(), format, specs, options, previous, &snapshot, &missing);
    REQUIRE_MESSAGE(status.ok(), status.message());
    return snapshot;
  }
};

inline PreparedQuery SmallQuery() {
  Noise noise(99);
  return PreparedQuery(noise.Floats(3 * kDim).data(), 3, kDim, 8);
}

// The scores of one request.
inline std::vector<float> ScoresOf(const Snapshot& snapshot, const PreparedQuery& query,
                                   const std::vector<uint32_t>& refs,
                                   Threads threads = Threads::kShared) {
  const Request request{&query, refs};
  std::vector<std::vector<float>> scores;
  const Status status = snapshot.Score({&request, 1}, {}, threads, &scores);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return scores[0];
}

}  // namespace maxsim

#endif  // MAXSIM_TEST_INDEX_FIXTURES_H_
