// Any bytes as a segment, also with right checksums: they are refused with a reason, or everything
// in them can be read, found and scored without harm.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "index/filter.h"
#include "index/segment_reader.h"
#include "maxsim/query.h"
#include "maxsim/scan.h"
#include "platform/crc32c.h"
#include "platform/mapped_file.h"
#include "segment_formats.h"

using namespace maxsim;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

const std::string kPath = "fuzzed.maxsim";

void Require(bool condition) {
  if (!condition) std::abort();
}

// What a manifest would say that agrees with the header, right or wrong as that is.
SegmentExpectation AsClaimed(const SegmentHeader& header) {
  const bool known = header.codec >= static_cast<uint32_t>(Codec::kF32) &&
                     CodecName(static_cast<Codec>(header.codec)) != nullptr;
  const Codec codec = known ? static_cast<Codec>(header.codec) : Codec::kF32;
  // A codebook of many dims takes longer to make than all the rest.
  const uint32_t dim = ResidualBits(codec) != 0 ? std::clamp(header.dim, 8u, 40u) : header.dim;
  return {FuzzFormat(codec, dim, header.scale, header.codebook_crc32c), header.document_count,
          header.token_count, header.crc32c};
}

// Every kind of condition on every column, over all documents and over some.
void Filtered(const SegmentReader& segment) {
  std::vector<Field> fields;
  std::vector<uint32_t> ops;
  std::vector<double> numbers;
  std::vector<std::string> keywords;
  uint32_t conditions = 0;
  const auto add = [&](FilterOp op, uint32_t field, uint32_t rest) {
    ops.insert(ops.end(), {static_cast<uint32_t>(op), field, rest});
    conditions++;
  };
  for (const Column& column : segment.fields().columns()) {
    const auto field = static_cast<uint32_t>(fields.size());
    fields.push_back(column.field);
    add(FilterOp::kExists, field, 0);
    if (column.field.type == FieldType::kKeyword) {
      add(FilterOp::kKeywords, field, 1);
      add(FilterOp::kKeywordRange, field, kLow);
      keywords.insert(keywords.end(), {column.terms > 0 ? std::string(column.Term(1)) : "", "k"});
    } else if (column.field.type == FieldType::kNumber) {
      add(FilterOp::kNumbers, field, 1);
      add(FilterOp::kNumberRange, field, kHigh);
      numbers.insert(numbers.end(), {1, 2});
    } else {
      add(FilterOp::kBooleans, field, 1);
    }
  }
  ops.insert(ops.begin(), {static_cast<uint32_t>(FilterOp::kOr), conditions, 0});
  Filter filter;
  CompiledFilter compiled;
  if (!Filter::Parse(std::move(fields), ops, numbers, std::move(keywords), &filter).ok()) return;
  Require(filter.Compile(segment.fields(), &compiled).ok());
  Bitmap all, some;
  compiled.Evaluate(0, segment.document_count(), &all);
  const std::vector<uint32_t> ordinals = {segment.document_count() - 1, 0};
  compiled.Evaluate(ordinals, &some);
  Require(IsSet(some, 0) == IsSet(all, ordinals[0]) && IsSet(some, 1) == IsSet(all, 0));
}

void Use(const SegmentReader& segment, bool verified) {
  Filtered(segment);
  const VectorFormat& format = segment.format();
  const size_t dim = format.dim;
  std::vector<MaxsimDocument> documents;
  std::vector<float> decoded;
  uint64_t tokens = 0;
  for (uint32_t i = 0; i < segment.document_count(); i++) {
    const std::string id(segment.Id(i));
    const uint32_t found = segment.Find(id, HashId(id, segment.header().id_hash_seed));
    Require(found == SegmentReader::kUnknown || found < segment.document_count());
    Require(!verified || found == i);
    std::span<const uint8_t> record;
    Status status = segment.Record(i, &record);
    Require(status.ok() || (!verified && !status.message().empty()));
    if (status.ok()) (void)Crc32c(record.data(), record.size());
    MaxsimDocument document;
    status = segment.Tokens(i, &document);
    Require(status.ok() || (!verified && !status.message().empty()));
    Require(document.token_count == segment.TokenCount(i));
    tokens += document.token_count;
    if (!status.ok()) continue;
    documents.push_back(document);
    decoded.resize(document.token_count * dim);
    DecodeTokens(format.tokens, static_cast<const uint8_t*>(document.tokens), document.token_count,
                 dim, decoded.data());
  }
  Require(tokens == segment.token_count());
  Require(segment.Find("nothing", HashId("nothing", 1)) == SegmentReader::kUnknown ||
          segment.Find("nothing", HashId("nothing", 1)) < segment.document_count());
  if (documents.empty()) return;
  const std::vector<float> vectors(3 * dim, 0.1f);
  const PreparedQuery query(vectors.data(), 3, dim, 8);
  Scanner scanner(query, format.tokens);
  scanner.Prepare(documents);
  std::vector<float> scores(documents.size());
  scanner.Scan(documents.data(), documents.size(), scores.data());
  std::vector<TokenMatch> matches(3);
  Explain(query, format.tokens, documents[0], matches.data());
  (void)scanner.Rest(segment.header().longest, segment.header().largest_factor);
}

// The checksums, counts and places that a program would write that writes nonsense between them.
void Seal(uint8_t* data, size_t size, unsigned seed) {
  SegmentHeader header;
  if (size < 2 * sizeof(header)) return;
  std::memcpy(&header, data, sizeof(header));
  std::memcpy(header.magic, kSegmentMagic, sizeof(header.magic));
  header.version = kSegmentVersion;
  header.header_size = sizeof(header);
  header.section_count = kSectionCount;
  header.file_size = size;
  if (seed & 1) {
    uint64_t end = sizeof(header);
    for (SectionEntry& section : header.sections) {
      section.offset = AlignUp(end);
      end = section.offset + section.size;
    }
  }
  const auto inside = [&](const SectionEntry& section) {
    return section.offset <= size && section.size <= size - section.offset;
  };
  const auto& documents = header.sections[kDocuments];
  if ((seed & 2) && inside(documents) && header.dim >= kMinDim && header.dim <= kMaxDim) {
    // Every document's own checksums.
    const SegmentExpectation claimed = AsClaimed(header);
    const uint64_t row = claimed.format.TokenBytes();
    const SectionEntry &token_bytes = header.sections[kTokens], &ids = header.sections[kIds],
                       &records = header.sections[kRecords];
    for (uint64_t at = 0; at + sizeof(DocumentEntry) <= documents.size;
         at += sizeof(DocumentEntry)) {
      DocumentEntry entry;
      std::memcpy(&entry, data + documents.offset + at, sizeof(entry));
      const auto fits = [&](const SectionEntry& section, uint64_t offset, uint64_t bytes) {
        return inside(section) && offset <= section.size && bytes <= section.size - offset;
      };
      const uint64_t block = entry.token_count() * row;
      if (fits(token_bytes, entry.tokens_offset(), block)) {
        entry.tokens_crc32c = Crc32c(data + token_bytes.offset + entry.tokens_offset(), block);
      }
      if (fits(ids, entry.id_offset(), entry.id_size()) &&
          fits(records, entry.record_offset(), entry.record_size)) {
        const uint32_t id = Crc32c(data + ids.offset + entry.id_offset(), entry.id_size());
        entry.record_crc32c =
            Crc32c(data + records.offset + entry.record_offset(), entry.record_size, id);
      }
      std::memcpy(data + documents.offset + at, &entry, sizeof(entry));
    }
  }
  for (const Section number : {kDocuments, kIds, kIdTable, kFields}) {
    SectionEntry& section = header.sections[number];
    if (inside(section)) section.crc32c = Crc32c(data + section.offset, section.size);
  }
  header.crc32c = Crc32c(&header, offsetof(SegmentHeader, crc32c));
  std::memcpy(data, &header, sizeof(header));
  std::memcpy(data + size - sizeof(header), &header, sizeof(header));
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0) Seal(data, size, seed / 8);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  SegmentHeader header{};
  std::memcpy(&header, data, std::min(size, sizeof(header)));
  const SegmentExpectation expected = AsClaimed(header);
  using Verify = ReadOptions::Verify;
  using Memory = ReadOptions::Memory;
  bool whole = false;
  for (const ReadOptions options :
       {ReadOptions{Verify::kAtOpen, Memory::kMapped}, ReadOptions{Verify::kOnUse, Memory::kMapped},
        ReadOptions{Verify::kOnUse, Memory::kHugePages}}) {
    std::unique_ptr<MappedFile> file;
    Require(MappedFile::Copy(kPath, data, size, &file).ok());
    std::shared_ptr<const SegmentReader> segment;
    const Status status = SegmentReader::Open(std::move(file), expected, options, &segment);
    const bool at_open = options.verify == Verify::kAtOpen;
    if (at_open) whole = status.ok();
    if (status.ok()) {
      Use(*segment, whole);
    } else {
      Require(!whole && status.message().find(kPath) == 0);
      const std::string code = status.code();
      Require(code == "CORRUPT_INDEX" || code == "UNSUPPORTED_FORMAT");
    }
  }
  return 0;
}
