// The file of a codebook: what is written is read back, and nothing that is broken is.
#include "index/codebook_file.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "index_fixtures.h"
#include "platform/crc32c.h"

using namespace maxsim;

namespace {

struct Read {
  std::shared_ptr<const Codebook> codebook;
  bool missing = false;
  Status status;
  explicit Read(const std::string& path) : status(ReadCodebook(path, &codebook, &missing)) {}
};

// The checksums of a file whose numbers lie, made right.
void Reseal(std::vector<uint8_t>* file) {
  CodebookHeader header;
  std::memcpy(&header, file->data(), sizeof(header));
  header.rows_crc32c = Crc32c(file->data() + sizeof(header), file->size() - sizeof(header));
  header.crc32c = Crc32c(&header, offsetof(CodebookHeader, crc32c));
  std::memcpy(file->data(), &header, sizeof(header));
}

}  // namespace

TEST_CASE("a codebook comes back from its file as it was, and is the same one by its checksum") {
  const TempDirectory directory;
  for (const uint32_t bits : {4u, 2u, 1u}) {
    for (const size_t dim : {8, 9, 128}) {
      CodebookContents contents = RandomCodebook(bits, dim, 70, 1)->contents();
      contents.trained_tokens = 123456789012;
      contents.seed = 987654321098;
      const Codebook codebook(contents);
      REQUIRE(WriteCodebook(directory / "c", codebook).ok());
      const Read read(directory / "c");
      REQUIRE_MESSAGE(read.status.ok(), read.status.message());
      const CodebookContents& back = read.codebook->contents();
      CHECK(back.bits == bits);
      CHECK(back.dim == dim);
      CHECK(back.centroid_count == 70);
      CHECK(back.centroid_shift == contents.centroid_shift);
      CHECK(back.scale == contents.scale);
      CHECK(std::memcmp(back.weights, contents.weights, sizeof(back.weights)) == 0);
      CHECK(back.rows == contents.rows);
      CHECK(back.trained_tokens == contents.trained_tokens);
      CHECK(back.seed == contents.seed);
      CHECK(CodebookCrc32c(*read.codebook) == CodebookCrc32c(codebook));
      CHECK(std::filesystem::file_size(directory / "c") == 128 + 70 * PaddedDim(dim));
    }
  }
  CHECK(directory.FileCount() == 1);
}

TEST_CASE("a flip of any byte of a codebook's file is found") {
  const TempDirectory directory;
  const std::string path = directory / "c";
  REQUIRE(WriteCodebook(path, *RandomCodebook(4, 9, 5, 1)).ok());
  const std::vector<uint8_t> whole = ReadAll(path);
  for (size_t i = 0; i < whole.size(); i++) {
    for (const unsigned flip : {1u, 0xffu}) {
      std::vector<uint8_t> broken = whole;
      broken[i] = static_cast<uint8_t>(broken[i] ^ flip);
      WriteAll(path, broken);
      const Read read(path);
      REQUIRE_MESSAGE(IsRefusal(read.status), "byte ", i);
      CHECK(read.status.message().find(path) == 0);
      CHECK(!read.missing);
      // A version is told apart only in the four bytes that hold it.
      if (i < 8 || i >= 12) CHECK(CodeOf(read.status) == "CORRUPT_INDEX");
    }
  }
}

TEST_CASE(
    "a codebook's file that is cut short or too long is refused, and one missing is so named") {
  const TempDirectory directory;
  const std::string path = directory / "c";
  REQUIRE(WriteCodebook(path, *RandomCodebook(2, 9, 5, 1)).ok());
  const std::vector<uint8_t> whole = ReadAll(path);
  for (size_t size = 0; size < whole.size(); size++) {
    WriteAll(path, std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(size)));
    REQUIRE_MESSAGE(CodeOf(Read(path).status) == "CORRUPT_INDEX", "length ", size);
  }
  for (const size_t more : {1, 12, 4096}) {
    std::vector<uint8_t> longer = whole;
    longer.resize(whole.size() + more);
    WriteAll(path, longer);
    CHECK(CodeOf(Read(path).status) == "CORRUPT_INDEX");
    Reseal(&longer);
    WriteAll(path, longer);
    CHECK(CodeOf(Read(path).status) == "CORRUPT_INDEX");
  }
  const Read absent(directory / "absent");
  CHECK(CodeOf(absent.status) == "IO_ERROR");
  CHECK(absent.missing);
}

TEST_CASE("a newer codebook version is named, together with the one that is read") {
  const TempDirectory directory;
  const std::string path = directory / "c";
  REQUIRE(WriteCodebook(path, *RandomCodebook(4, 9, 20, 1)).ok());
  std::vector<uint8_t> bytes = ReadAll(path);
  bytes[8] = 2;
  WriteAll(path, bytes);
  const Status status = Read(path).status;
  CHECK(CodeOf(status) == "UNSUPPORTED_FORMAT");
  CHECK(status.message().find("version 2; this release of maxsim reads version 1") !=
        std::string::npos);
}

TEST_CASE("a codebook whose checksums are right but whose numbers lie is refused") {
  const TempDirectory directory;
  const std::string path = directory / "c";
  REQUIRE(WriteCodebook(path, *RandomCodebook(4, 9, 20, 1)).ok());
  const std::vector<uint8_t> whole = ReadAll(path);
  const auto refused = [&](size_t at, auto value) {
    std::vector<uint8_t> lie = whole;
    std::memcpy(&lie[at], &value, sizeof(value));
    Reseal(&lie);
    WriteAll(path, lie);
    return CodeOf(Read(path).status) == "CORRUPT_INDEX";
  };
  CHECK(!refused(offsetof(CodebookHeader, seed), uint64_t{5}));  // which may be anything
  CHECK(refused(offsetof(CodebookHeader, version), uint32_t{0}));
  CHECK(refused(offsetof(CodebookHeader, header_size), uint32_t{64}));
  for (const uint32_t bits : {0u, 3u, 8u, 0xffffffffu}) {
    CHECK(refused(offsetof(CodebookHeader, bits), bits));
  }
  for (const uint32_t dim : {0u, 7u, 13u, 1025u, 0xffffffffu}) {
    CHECK(refused(offsetof(CodebookHeader, dim), dim));
  }
  for (const uint32_t count : {0u, 19u, 21u, (1u << 24) + 1, 0xffffffffu}) {
    CHECK(refused(offsetof(CodebookHeader, centroid_count), count));
  }
  for (const uint32_t shift : {6u, 31u, 0xffffffffu}) {
    CHECK(refused(offsetof(CodebookHeader, centroid_shift), shift));
  }
  for (const float scale : {0.f, -0.01f, 1.f, 1e-40f, INFINITY, NAN}) {
    CHECK(refused(offsetof(CodebookHeader, scale), scale));
  }
  CHECK(refused(offsetof(CodebookHeader, weights), int8_t{-128}));
  CHECK(refused(offsetof(CodebookHeader, weights), int8_t{127}));  // no longer ascending
  CHECK(refused(sizeof(CodebookHeader) + 5, uint8_t{0}));          // -128
}
