#include "index/segment_examination.h"

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "platform/crc32c.h"

namespace maxsim {
namespace examination {

std::string Text(const char* format, ...) {
  char text[256];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

}  // namespace examination
namespace {

using ull = unsigned long long;
using examination::Flip;
using examination::Text;

constexpr size_t kHeaderCrcOffset = offsetof(SegmentHeader, crc32c);

// A header put right by what the manifest says of its checksum.
struct FoundHeader {
  SegmentHeader header{};
  bool usable = false;
  std::vector<uint64_t> flipped;  // bits that were wrong
};

FoundHeader ReadHeader(const MappedFile& file, uint64_t offset, uint32_t expected) {
  FoundHeader found;
  if (offset > file.size() || file.size() - offset < sizeof(SegmentHeader)) return found;
  uint8_t bytes[sizeof(SegmentHeader)];
  std::memcpy(bytes, file.data() + offset, sizeof(bytes));
  const uint32_t crc = Crc32c(bytes, kHeaderCrcOffset);
  if (crc != expected) {
    const auto bit = FindFlippedBit(kHeaderCrcOffset, crc ^ expected);
    if (!bit || *bit >= kHeaderCrcOffset * 8) return found;
    Flip(bytes, *bit);
    found.flipped.push_back(*bit);
  }
  std::memcpy(&found.header, bytes, sizeof(bytes));
  uint32_t wrong = found.header.crc32c ^ expected;
  for (; wrong != 0; wrong &= wrong - 1) {
    found.flipped.push_back(kHeaderCrcOffset * 8 + static_cast<uint64_t>(std::countr_zero(wrong)));
  }
  found.header.crc32c = expected;
  found.usable = true;
  return found;
}

}  // namespace

Status SegmentExamination::Run(const std::string& path, const SegmentExpectation& expected,
                               const Limits& limits, std::unique_ptr<SegmentExamination>* out) {
  std::unique_ptr<SegmentExamination> examination(new SegmentExamination(expected));
  const Status status = examination->Examine(path, limits);
  if (!status.ok()) return status;
  std::stable_sort(
      examination->problems_.begin(), examination->problems_.end(),
      [](const SegmentProblem& a, const SegmentProblem& b) { return a.offset < b.offset; });
  *out = std::move(examination);
  return Status::Ok();
}

Status SegmentExamination::Examine(const std::string& path, const Limits& limits) {
  states_.assign(expected_.documents, State::kWhole);
  bool missing;
  std::vector<MappedFile::Extent> unreadable;
  Status status = MappedFile::OpenDamaged(path, 0, &file_, &unreadable, &missing);
  if (missing) {
    Add("file", 0, 0, Remedy::kNone, "the file is not there, but the manifest lists it");
    LoseAll();
    return Status::Ok();
  }
  bool found = false;
  if (status.ok()) status = FindHeader(&found);
  if (!status.ok()) return status;
  if (!found || !HasPlausibleLayout()) {
    const char* what = !found ? "neither header has the checksum that the manifest says"
                              : "the header is not that of a segment of this index";
    Add("header", 0, sizeof(SegmentHeader), Remedy::kNone, what);
    ExamineUnreadable(unreadable);
    LoseAll();
    return Status::Ok();
  }
  const uint64_t size = file_->size();
  if (size < header_.file_size) {
    // What is not there any more becomes zeros, which no checksum of documents takes for whole.
    status = MappedFile::OpenDamaged(path, header_.file_size, &file_, &unreadable);
    if (!status.ok()) return status;
    Add("file", size, header_.file_size - size, Remedy::kRewritten,
        Text("the file ends after %llu of %llu bytes", static_cast<ull>(size),
             static_cast<ull>(header_.file_size)));
  } else if (size > header_.file_size) {
    Add("file", header_.file_size, size - header_.file_size, Remedy::kRewritten,
        "there are bytes behind the end of the segment");
  }
  readable_ = true;
  ExamineUnreadable(unreadable);
  for (uint32_t i = 0; i < kSectionCount; i++) {
    const SectionEntry& section = header_.sections[i];
    const uint64_t next = i + 1 < kSectionCount ? header_.sections[i + 1].offset
                                                : header_.file_size - sizeof(SegmentHeader);
    ExaminePadding(kSectionNames[i], section.offset + section.size, next);
  }
  ExamineDocumentTable();
  ExamineIds();
  status = ExamineDocuments(limits);
  if (!status.ok()) return status;
  ExamineIdTable();
  ExamineFields();
  if (!table_whole_) ExamineRepeats();
  return limits.Check();
}

// The manifest says which checksum the header has, so it alone says what is right.
Status SegmentExamination::FindHeader(bool* found) {
  const uint64_t size = file_->size();
  const uint32_t expected = expected_.header_crc32c;
  const FoundHeader first = ReadHeader(*file_, 0, expected);
  const uint64_t end = first.usable ? first.header.file_size : size;
  const uint64_t place = end < sizeof(SegmentHeader) ? size : end - sizeof(SegmentHeader);
  const FoundHeader second = ReadHeader(*file_, place, expected);
  *found = first.usable || second.usable;
  if (!*found) return Status::Ok();
  header_ = first.usable ? first.header : second.header;
  if (header_.version > kSegmentVersion) {
    return Status::Error("UNSUPPORTED_FORMAT",
                         "%s: segment format version %u; this release of maxsim reads version %u.",
                         file_->path().c_str(), header_.version, kSegmentVersion);
  }
  const struct {
    const char* section;
    uint64_t offset;
    const FoundHeader& header;
  } both[] = {{"header", 0, first}, {"second header", place, second}};
  for (const auto& [section, offset, header] : both) {
    if (!header.usable) {
      // Behind the end of a file that was cut short: that is said once.
      if (offset < size) {
        Add(section, offset, sizeof(SegmentHeader), Remedy::kRewritten,
            "it does not have the checksum that the manifest says; the other one stands in");
      }
    } else if (header.flipped.size() > 1) {
      Add(section, offset, sizeof(SegmentHeader), Remedy::kRewritten, "it and its checksum differ");
    } else if (header.flipped.size() == 1) {
      AddBit(section, offset, static_cast<unsigned>(header.flipped[0]));
    }
  }
  return Status::Ok();
}

// Where the sections lie follows from their sizes, and those from the counts, as SegmentReader has
// it. With the checksum right this can only fail for a header that was never ours.
bool SegmentExamination::HasPlausibleLayout() const {
  const SegmentHeader& h = header_;
  const VectorFormat& format = expected_.format;
  if (std::memcmp(h.magic, kSegmentMagic, sizeof(kSegmentMagic)) != 0 ||
      h.version != kSegmentVersion || h.header_size != sizeof(SegmentHeader) ||
      h.section_count != kSectionCount || h.codec != static_cast<uint32_t>(format.tokens.codec) ||
      h.dim != format.dim || h.scale != format.tokens.scale ||
      h.codebook_crc32c != format.codebook_crc32c || h.document_count != expected_.documents ||
      h.token_count != expected_.tokens) {
    return false;
  }
  uint64_t end = sizeof(SegmentHeader);
  for (const SectionEntry& section : h.sections) {
    if (section.offset != AlignUp(end) || section.offset > h.file_size ||
        section.size > h.file_size - section.offset) {
      return false;
    }
    end = section.offset + section.size;
  }
  return h.file_size == AlignUp(end) + sizeof(SegmentHeader) &&
         h.sections[kTokens].size <= kMaxTokensSection &&
         h.sections[kDocuments].size == h.document_count * sizeof(DocumentEntry) &&
         h.sections[kIdTable].size == IdTableSlots(h.document_count) * sizeof(uint32_t);
}

void SegmentExamination::ExamineUnreadable(const std::vector<MappedFile::Extent>& unreadable) {
  for (const auto& [offset, size] : unreadable) {
    Add("file", offset, size, Remedy::kRewritten, "the disk cannot give these bytes");
  }
}

void SegmentExamination::ExaminePadding(const char* section, uint64_t begin, uint64_t end) {
  const uint8_t* bytes = file_->data();
  uint64_t first = begin;
  while (first < end && bytes[first] == 0) first++;
  if (first == end) return;
  uint64_t last = end;
  while (bytes[last - 1] == 0) last--;
  if (last - first == 1 && std::has_single_bit(bytes[first])) {
    AddBit(section, first, static_cast<unsigned>(std::countr_zero(bytes[first])));
  } else {
    Add(section, first, last - first, Remedy::kRewritten, "padding that is not zero");
  }
}

void SegmentExamination::ExamineIds() {
  const SectionEntry& section = header_.sections[kIds];
  uint8_t* ids = file_->writable() + section.offset;
  const uint32_t crc = Crc32c(ids, section.size);
  ids_whole_ = crc == section.crc32c;
  if (ids_whole_) return;
  const auto bit = FindFlippedBit(section.size, crc ^ section.crc32c);
  if (bit && *bit < section.size * 8) {
    Flip(ids, *bit);
    // An id is under its document's checksum too, so that one need not be believed here.
    bool confirmed = false;
    uint32_t owner = kNoDocument;
    for (uint32_t i = 0; i < expected_.documents && !confirmed; i++) {
      const DocumentEntry entry = Entry(i);
      const uint64_t begin = entry.id_offset(), end = begin + entry.id_size();
      if (*bit / 8 >= begin && *bit / 8 < end) {
        owner = i;
        // Its record may have a flipped bit of its own.
        const uint32_t syndrome = RecordCrc(entry) ^ entry.record_crc32c;
        const auto other = FindFlippedBit(entry.id_size() + uint64_t{entry.record_size}, syndrome);
        confirmed = syndrome == 0 || (other && *other >= entry.id_size() * 8);
        break;
      }
    }
    if (confirmed) {
      ids_whole_ = true;
      AddBit(kSectionNames[kIds], section.offset + *bit / 8, *bit % 8, owner);
      return;
    }
    Flip(ids, *bit);
  }
  Add(kSectionNames[kIds], section.offset, section.size, Remedy::kRewritten,
      Text("checksum %08x found, expected %08x; each id is judged with its record", crc,
           section.crc32c));
}

// Nothing is lost with it: it follows from the ids.
void SegmentExamination::ExamineIdTable() {
  const SectionEntry& section = header_.sections[kIdTable];
  const char* name = kSectionNames[kIdTable];
  const uint8_t* table = At(kIdTable);
  const uint32_t crc = Crc32c(table, section.size);
  if (crc != section.crc32c) {
    const auto bit = FindFlippedBit(section.size, crc ^ section.crc32c);
    if (bit && *bit < section.size * 8) {
      AddBit(name, section.offset + *bit / 8, *bit % 8);
    } else {
      Add(name, section.offset, section.size, Remedy::kRewritten,
          Text("checksum %08x found, expected %08x", crc, section.crc32c));
    }
    return;
  }
  if (!table_whole_ || !ids_whole_) return;
  const uint64_t mask = IdTableSlots(header_.document_count) - 1;
  const auto slot_at = [table](uint64_t slot) {
    uint32_t value;
    std::memcpy(&value, table + slot * sizeof(value), sizeof(value));
    return value;
  };
  for (uint32_t i = 0; i < expected_.documents; i++) {
    const std::string_view id = *Id(i);
    uint64_t slot = HashId(id, header_.id_hash_seed) & mask, probes = 0;
    while (slot_at(slot) != i + 1) {
      const uint32_t other = slot_at(slot);
      const bool ends = other == 0 || other > expected_.documents || probes++ > mask;
      if (ends || *Id(other - 1) == id) {
        Add(name, section.offset + slot * sizeof(uint32_t), sizeof(uint32_t), Remedy::kRewritten,
            Text("the id of document %u leads to %s", i,
                 ends ? "nowhere" : "another document, which has it too"));
        ExamineRepeats();
        return;
      }
      slot = (slot + 1) & mask;
    }
  }
}

// Nothing is lost with them: payloads hold the values too.
void SegmentExamination::ExamineFields() {
  const SectionEntry& section = header_.sections[kFields];
  const std::span<uint8_t> bytes(file_->writable() + section.offset, section.size);
  const char* name = kSectionNames[kFields];
  uint64_t offset = 0;
  std::string problem;
  const auto open = [&] {
    return FieldsReader::Open(bytes, static_cast<uint32_t>(expected_.documents), &fields_, &offset,
                              &problem);
  };
  const uint32_t crc = Crc32c(bytes.data(), bytes.size());
  if (crc == section.crc32c) {
    fields_whole_ = open();
    if (!fields_whole_) Add(name, section.offset + offset, 8, Remedy::kRewritten, problem);
    return;
  }
  const auto bit = FindFlippedBit(section.size, crc ^ section.crc32c);
  if (bit && *bit < section.size * 8) {
    Flip(bytes.data(), *bit);
    fields_whole_ = open();
    if (fields_whole_) {
      AddBit(name, section.offset + *bit / 8, *bit % 8);
      return;
    }
    Flip(bytes.data(), *bit);
  }
  Add(name, section.offset, section.size, Remedy::kRewritten,
      Text("checksum %08x found, expected %08x; payloads hold the values too", crc,
           section.crc32c));
}

std::span<const uint8_t> SegmentExamination::Record(uint32_t ordinal) const {
  const DocumentEntry entry = Entry(ordinal);
  return {At(kRecords, entry.record_offset()), entry.record_size};
}

std::optional<std::string_view> SegmentExamination::Id(uint32_t ordinal) const {
  if (states_[ordinal] == State::kLost) return std::nullopt;
  const DocumentEntry entry = Entry(ordinal);
  return std::string_view(reinterpret_cast<const char*>(At(kIds, entry.id_offset())),
                          entry.id_size());
}

void SegmentExamination::Add(const char* section, uint64_t offset, uint64_t size, Remedy remedy,
                             std::string message) {
  problems_.push_back({section, offset, size, std::move(message), remedy});
}

void SegmentExamination::AddBit(const char* section, uint64_t offset, unsigned bit,
                                uint32_t ordinal) {
  const bool touches = ordinal != kNoDocument;
  problems_.push_back({section, offset + bit / 8, 1, Text("bit %u is flipped", bit % 8),
                       Remedy::kFlippedBit, touches ? ordinal : 0, touches ? 1u : 0u});
}

void SegmentExamination::LoseAll() {
  std::fill(states_.begin(), states_.end(), State::kLost);
  SegmentProblem& last = problems_.front();
  last.documents = static_cast<uint32_t>(expected_.documents);
}

std::string_view SalvagedDocuments::Id(size_t document) const {
  return *examination_.Id(ordinals_[document]);
}

std::span<const uint8_t> SalvagedDocuments::Record(size_t document) const {
  return examination_.Record(ordinals_[document]);
}

Status SalvagedDocuments::Fields(std::vector<uint8_t>* section) const {
  if (fields_ != nullptr) return fields_->Finish(section);
  if (!examination_.HasFields()) {
    return Status::Error("INVALID_ARGUMENT",
                         "the fields of the segment are not whole, and no others were given.");
  }
  std::vector<Field> fields;
  for (const Column& column : examination_.fields_.columns()) fields.push_back(column.field);
  FieldsWriter writer(fields);
  FieldsWriter::TermMap codes;
  for (const uint32_t ordinal : ordinals_) writer.Copy(examination_.fields_, ordinal, &codes);
  return writer.Finish(section);
}

uint32_t SalvagedDocuments::TokenCount(size_t document) const {
  return examination_.Entry(ordinals_[document]).token_count();
}

std::span<const uint8_t> SalvagedDocuments::Tokens(size_t document) {
  const DocumentEntry entry = examination_.Entry(ordinals_[document]);
  return {examination_.At(kTokens, entry.tokens_offset()), examination_.TokensSize(entry)};
}

EncodedTokens SalvagedDocuments::encoded() const {
  EncodedTokens encoded;
  encoded.longest = examination_.header_.longest;
  encoded.largest_factor = examination_.header_.largest_factor;
  return encoded;
}

}  // namespace maxsim
