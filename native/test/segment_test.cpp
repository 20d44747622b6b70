// Segments: what is written is read back, and nothing that is broken is.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <iterator>

#include "index_fixtures.h"
#include "platform/crc32c.h"

using namespace maxsim;
namespace fs = std::filesystem;

TEST_CASE("the id hash is SipHash-2-4 with the key (seed, 0)") {
  // From an implementation in another language that gives the vectors of the SipHash paper.
  std::string bytes;
  for (int i = 0; i < 15; i++) bytes.push_back(static_cast<char>(i));
  CHECK(HashId("", 0) == 0x1e924b9d737700d7u);
  CHECK(HashId("Hello world", 0) == 0xc9e8a3021f3822d9u);
  CHECK(HashId("a", 1) != HashId("a", 2));
  CHECK(HashId(bytes, 0x0706050403020100u) == 0xde25ac9eff95f4ecu);
}

TEST_CASE("a segment gives back every id, record and token it was given, in every codec") {
  const TempDirectory directory;
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    const VectorFormat format = IndexFormat(codec);
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
      const auto record = RecordOf(*reader, i);
      CHECK(std::vector<uint8_t>(record.begin(), record.end()) == corpus.records[i]);
      const MaxsimDocument document = TokensOf(*reader, i);
      REQUIRE(document.token_count == corpus.vectors[i].size() / format.dim);
      CHECK(reinterpret_cast<uintptr_t>(document.tokens) % kAlignment == 0);
      std::vector<float> decoded(corpus.vectors[i].size());
      DecodeTokens(format.tokens, static_cast<const uint8_t*>(document.tokens),
                   document.token_count, format.dim, decoded.data());
      // The bytes are those of the codec, and mean what it says (codec_test.cpp).
      std::vector<uint8_t> bytes(document.token_count * format.TokenBytes());
      EncodedTokens encoded;
      EncodeTokens(format.tokens, corpus.vectors[i].data(), document.token_count, format.dim,
                   bytes.data(), &encoded);
      CHECK(std::memcmp(document.tokens, bytes.data(), bytes.size()) == 0);
      CHECK(encoded.longest <= reader->header().longest);
      CHECK(encoded.largest_factor <= reader->header().largest_factor);
      // Half a step in each of the 9 rotated dims is at most a step and a half in any one.
      const float tolerance = codec == Codec::kF32                            ? 0.f
                              : codec == Codec::kF16 || codec == Codec::kBf16 ? 0x1p-9f
                              : !ResidualBits(codec)                          ? 3.f / 127 * 1.51f
                              : codec == Codec::kR4                           ? 1.5f
                                                                              : 3.f;
      for (size_t d = 0; d < decoded.size(); d++) {
        CHECK(std::fabs(decoded[d] - corpus.vectors[i][d]) <= tolerance);
      }
    }
    CHECK(Find(*reader, "absent") == SegmentReader::kUnknown);
    CHECK(Find(*reader, "") == SegmentReader::kUnknown);
    CHECK(directory.FileCount() == 1);
  }
}

namespace {

// Without and with a part behind the rows, and with a codebook.
const Codec kThreeLayouts[] = {Codec::kInt8, Codec::kInt8Token, Codec::kR4};

}  // namespace

TEST_CASE("a segment cut short anywhere is refused") {
  for (const Codec codec : kThreeLayouts) {
    const VectorFormat format = IndexFormat(codec);
    const TempDirectory directory;
    const std::string path = directory / "s";
    const SegmentSummary summary = Write(path, format, SmallCorpus(5));
    const std::vector<uint8_t> whole = ReadAll(path);
    // Every length of one, and many of the others.
    for (size_t size = 0; size < whole.size(); size += codec == Codec::kInt8 ? 1 : 7) {
      WriteAll(path, std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(size)));
      std::shared_ptr<const SegmentReader> reader;
      const Status status = SegmentReader::Open(path, Expect(format, summary), kVerifyAll, &reader);
      REQUIRE_MESSAGE(IsRefusal(status), "length ", size);
    }
    std::vector<uint8_t> longer = whole;
    longer.push_back(0);
    WriteAll(path, longer);
    std::shared_ptr<const SegmentReader> reader;
    CHECK(IsRefusal(SegmentReader::Open(path, Expect(format, summary), kVerifyAll, &reader)));
  }
}

TEST_CASE("a token block or a record that has changed is found when it is used, and is not used") {
  for (const Codec codec : kThreeLayouts) {
    const VectorFormat format = IndexFormat(codec);
    const TempDirectory directory;
    const std::string path = directory / "s";
    const SegmentSummary summary = Write(path, format, SmallCorpus(5));
    const std::vector<uint8_t> whole = ReadAll(path);
    SegmentHeader header;
    std::memcpy(&header, whole.data(), sizeof(header));
    for (const Section section : {kTokens, kRecords}) {
      const SectionEntry& entry = header.sections[section];
      for (uint64_t i = 0; i < entry.size; i++) {
        std::vector<uint8_t> broken = whole;
        broken[entry.offset + i] ^= 0x10;
        WriteAll(path, broken);
        std::shared_ptr<const SegmentReader> reader;
        // In a copy as in the mapping.
        const ReadOptions options{
            ReadOptions::Verify::kOnUse,
            i % 2 == 0 ? ReadOptions::Memory::kMapped : ReadOptions::Memory::kHugePages};
        REQUIRE(SegmentReader::Open(path, Expect(format, summary), options, &reader).ok());
        size_t found = 0;
        for (uint32_t ordinal = 0; ordinal < reader->document_count(); ordinal++) {
          MaxsimDocument document;
          std::span<const uint8_t> record;
          for (const Status& status :
               {reader->Tokens(ordinal, &document), reader->Tokens(ordinal, &document),
                reader->Record(ordinal, &record)}) {
            if (status.ok()) continue;
            found++;
            REQUIRE(IsRefusal(status));
            CHECK(status.message().find(path) == 0);
          }
        }
        // Twice in a row for tokens; or a byte between two blocks, which nobody reads.
        const bool padding = section == kTokens && whole[entry.offset + i] == 0;
        CHECK((found == (section == kTokens ? 2 : 1) || (found == 0 && padding)));
      }
    }
  }
}

TEST_CASE("a flip of any bit of a segment is found and its section named") {
  for (const Codec codec : kThreeLayouts) {
    const VectorFormat format = IndexFormat(codec);
    const TempDirectory directory;
    const std::string path = directory / "s";
    const SegmentSummary summary = Write(path, format, SmallCorpus(5));
    const std::vector<uint8_t> whole = ReadAll(path);
    Noise noise(11);
    for (size_t i = 0; i < whole.size(); i += codec == Codec::kInt8 ? 1 : 5) {
      for (const unsigned flip : {1u << (noise.Next() >> 61), 0xFFu}) {
        std::vector<uint8_t> broken = whole;
        broken[i] = static_cast<uint8_t>(broken[i] ^ flip);
        WriteAll(path, broken);
        std::shared_ptr<const SegmentReader> reader;
        const Status status =
            SegmentReader::Open(path, Expect(format, summary), kVerifyAll, &reader);
        REQUIRE_MESSAGE(IsRefusal(status), "byte ", i);
        CHECK(status.message().find(path) == 0);
      }
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
    for (const Section part : {kDocuments, kIds, kIdTable}) {
      SectionEntry& entry = header.sections[part];
      if (entry.offset <= lie.size() && entry.size <= lie.size() - entry.offset) {
        entry.crc32c = Crc32c(lie.data() + entry.offset, entry.size);
      }
    }
    header.crc32c = Crc32c(&header, offsetof(SegmentHeader, crc32c));
    std::memcpy(lie.data(), &header, sizeof(header));
    std::memcpy(lie.data() + lie.size() - sizeof(header), &header, sizeof(header));
    WriteAll(path, lie);
    SegmentExpectation expected = Expect(kInt8Format, summary);
    expected.header_crc32c = header.crc32c;
    std::shared_ptr<const SegmentReader> reader;
    const Status status = SegmentReader::Open(path, expected, kVerifyAll, &reader);
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
  const Status status =
      SegmentReader::Open(path, Expect(kInt8Format, summary), kVerifyAll, &reader);
  CHECK(std::string(status.code()) == "UNSUPPORTED_FORMAT");
  CHECK(status.message().find("version 2; this release of maxsim reads version 1") !=
        std::string::npos);
}

TEST_CASE("a segment that is not the one of the manifest is refused") {
  const TempDirectory directory;
  const std::string path = directory / "s";
  const SegmentSummary summary = Write(path, kInt8Format, SmallCorpus(3));
  std::shared_ptr<const SegmentReader> reader;
  for (int field = 0; field < 7; field++) {
    SegmentExpectation expected = Expect(kInt8Format, summary);
    if (field == 0) expected.documents++;
    if (field == 1) expected.tokens--;
    if (field == 2) expected.header_crc32c ^= 1;
    if (field == 3) expected.format.dim = 10;
    if (field == 4) expected.format.tokens.scale *= 2;
    if (field == 5) expected.format.tokens.codec = Codec::kF32;
    if (field == 6) expected.format.codebook_crc32c = 1;
    CHECK(IsRefusal(SegmentReader::Open(path, expected, kVerifyAll, &reader)));
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

namespace {

// What another source gives, with the tokens of one document changed.
class Forged : public DocumentSource {
 public:
  Forged(DocumentSource& source, size_t document, std::vector<uint8_t> tokens)
      : source_(source), document_(document), tokens_(std::move(tokens)) {}
  size_t document_count() const override { return source_.document_count(); }
  std::string_view Id(size_t i) const override { return source_.Id(i); }
  std::span<const uint8_t> Record(size_t i) const override { return source_.Record(i); }
  uint32_t TokenCount(size_t i) const override { return source_.TokenCount(i); }
  std::span<const uint8_t> Tokens(size_t i) override {
    return i == document_ ? std::span<const uint8_t>(tokens_) : source_.Tokens(i);
  }
  EncodedTokens encoded() const override { return source_.encoded(); }

 private:
  DocumentSource& source_;
  size_t document_;
  std::vector<uint8_t> tokens_;
};

}  // namespace

TEST_CASE("a token of a centroid that the codebook lacks is refused, whatever the checksums say") {
  const TempDirectory directory;
  const std::string path = directory / "s";
  const Corpus corpus = SmallCorpus(6);
  for (const uint32_t centroids : {64u, 70000u}) {  // ids of 2 and of 3 bytes
    const TokenFormat tokens = FormatOf(Codec::kR2, kDim, centroids);
    const VectorFormat format{tokens, kDim, CodebookCrc32c(*tokens.codebook)};
    const size_t id_bytes = tokens.codebook->id_bytes();
    FloatDocuments source = corpus.Source(format);
    for (const uint32_t id : {0u, centroids - 1, centroids, 65535u, 0xffffffu}) {
      if (id > (id_bytes == 2 ? 65535u : 0xffffffu)) continue;
      const std::span<const uint8_t> rows = source.Tokens(2);  // of three tokens
      std::vector<uint8_t> forged(rows.begin(), rows.end());
      std::memcpy(&forged[forged.size() - 2 * id_bytes], &id, id_bytes);
      Forged forgery(source, 2, forged);
      const SegmentSummary summary = WriteSource(path, format, forgery);
      std::shared_ptr<const SegmentReader> reader;
      const Status status = SegmentReader::Open(path, Expect(format, summary), kVerifyAll, &reader);
      CAPTURE(id);
      CAPTURE(centroids);
      if (id < centroids) {
        CHECK(status.ok());
        continue;
      }
      CHECK(CodeOf(status) == "CORRUPT_INDEX");
      CHECK(status.message().find("document 2 has a token of centroid " + std::to_string(id) +
                                  ", but there are " + std::to_string(centroids)) !=
            std::string::npos);
    }
  }
}

TEST_CASE("documents of zeros and of the most tokens are stored in every codec") {
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    const TempDirectory directory;
    const VectorFormat format = IndexFormat(codec);
    Corpus corpus;
    Noise noise(4);
    corpus.Add("zeros", 3, noise);
    std::fill(corpus.vectors[0].begin(), corpus.vectors[0].end(), 0.f);
    corpus.Add("most", 65535, noise);
    const SegmentSummary summary = Write(directory / "s", format, corpus);
    const auto reader = Open(directory / "s", format, summary);
    CHECK(TokensOf(*reader, 1).token_count == 65535);
    std::vector<float> decoded(3 * kDim, 1.f);
    DecodeTokens(format.tokens, static_cast<const uint8_t*>(TokensOf(*reader, 0).tokens), 3, kDim,
                 decoded.data());
    for (const float value : decoded) CHECK(value == 0.f);
    corpus.Add("too many", 65536, noise);
    CHECK(CodeOf(corpus.Source(format).Validate()) == "INVALID_VECTORS");
  }
}
