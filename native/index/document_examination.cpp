// The documents of a damaged segment: which are whole, and what can be mended.
#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <unordered_set>

#include "index/segment_examination.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"
#include "platform/crc32c.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

using examination::Flip;
using examination::Text;

// The trace of a lost sector, in which no single bit is to be believed: what is encoded or written
// by people has no 64 zero bytes in a row.
bool HasZeroRun(const uint8_t* bytes, uint64_t size) {
  uint64_t run = 0;
  for (uint64_t i = 0; i < size; i++) {
    run = bytes[i] == 0 ? run + 1 : 0;
    if (run == 64) return true;
  }
  return false;
}

}  // namespace

struct SegmentExamination::Damage {
  uint32_t ordinal = 0;
  bool in_bounds = false, in_place = false, tokens_whole = false, record_whole = false;
  std::optional<uint64_t> tokens_bit, record_bit;
};

void SegmentExamination::ExamineDocumentTable() {
  const SectionEntry& section = header_.sections[kDocuments];
  uint8_t* table = file_->writable() + section.offset;
  const uint32_t crc = Crc32c(table, section.size);
  if (crc == section.crc32c) {
    table_whole_ = IsCanonicalTable();
    if (!table_whole_) {
      Add(kSectionNames[kDocuments], section.offset, section.size, Remedy::kRewritten,
          "documents do not follow each other");
    }
    return;
  }
  const auto bit = FindFlippedBit(section.size, crc ^ section.crc32c);
  if (bit && *bit < section.size * 8) {
    Flip(table, *bit);
    table_whole_ = IsCanonicalTable();
    if (table_whole_) {
      AddBit(kSectionNames[kDocuments], section.offset + *bit / 8, *bit % 8,
             static_cast<uint32_t>(*bit / 8 / sizeof(DocumentEntry)));
      return;
    }
    Flip(table, *bit);
  }
  const bool rebuilt = RebuildDocumentTable();
  table_whole_ = rebuilt && IsCanonicalTable();
  // What it costs otherwise is said document by document.
  Add(kSectionNames[kDocuments], section.offset, section.size, Remedy::kRewritten,
      Text("checksum %08x found, expected %08x; %s", crc, section.crc32c,
           table_whole_ ? "it follows from what it leads to"
                        : "each document is judged by its own checksums"));
}

// An entry follows from what stands before and after it, and its checksums from what it leads to.
// The table's own checksum then proves the whole, documents included: that is tried before any of
// them is given up.
bool SegmentExamination::RebuildDocumentTable() {
  const auto count = static_cast<uint32_t>(expected_.documents);
  std::vector<DocumentEntry> entries(count);
  std::memcpy(entries.data(), At(kDocuments), count * sizeof(DocumentEntry));
  std::vector<uint8_t> is_right(count);
  constexpr uint32_t kPiece = 64;
  ThreadPool::Shared().For((count - 1) / kPiece + 1, [&](size_t piece) {
    const auto begin = static_cast<uint32_t>(piece * kPiece);
    for (uint32_t i = begin; i < count && i < begin + kPiece; i++) {
      const DocumentEntry& entry = entries[i];
      is_right[i] = IsInBounds(entry) && TokensCrc(entry) == entry.tokens_crc32c &&
                    RecordCrc(entry) == entry.record_crc32c;
    }
  });
  const auto find_wrong = [&is_right](uint32_t from) {
    return static_cast<uint32_t>(std::find(is_right.begin() + from, is_right.end(), 0) -
                                 is_right.begin());
  };
  uint64_t other_tokens = 0;  // of all entries but the one whose count is not known
  for (const DocumentEntry& entry : entries) other_tokens += entry.token_count();
  bool is_count_known = true;
  for (uint32_t i = find_wrong(0); i < count; i = find_wrong(i + 1)) {
    DocumentEntry& entry = entries[i];
    const auto end_of = [this](const DocumentEntry& e) {
      return std::array<uint64_t, 3>{AlignUp(e.tokens_offset() + TokensSize(e)),
                                     e.id_offset() + e.id_size(),
                                     e.record_offset() + e.record_size};
    };
    using Place = std::array<uint64_t, 3>;  // of the token block, the id, the record
    const Place start = i == 0 ? Place{} : end_of(entries[i - 1]);
    const bool starts_there =
        Place{entry.tokens_offset(), entry.id_offset(), entry.record_offset()} == start;
    if (!starts_there || !IsInBounds(entry) || !IsBetweenNeighbours(i)) {
      const bool is_last = i + 1 == count;
      if (!is_count_known || (!is_last && is_right[i + 1] == 0)) return false;
      const Place next =
          is_last ? Place{0, header_.sections[kIds].size, header_.sections[kRecords].size}
                  : Place{0, entries[i + 1].id_offset(), entries[i + 1].record_offset()};
      is_count_known = false;
      other_tokens -= entry.token_count();
      const uint64_t tokens = header_.token_count - other_tokens;
      const uint64_t id_size = next[1] - start[1], record_size = next[2] - start[2];
      if (tokens > kMaxDocumentTokens || id_size > kMaxIdBytes || record_size > UINT32_MAX ||
          start[0] > kMaxTokensSection) {
        return false;
      }
      entry.id = start[1] | tokens << DocumentEntry::kShift;
      entry.record = start[2] | id_size << DocumentEntry::kShift;
      entry.record_size = static_cast<uint32_t>(record_size);
      entry.tokens_block = static_cast<uint32_t>(start[0] / kAlignment);
      if (!IsInBounds(entry)) return false;
    }
    entry.tokens_crc32c = TokensCrc(entry);
    entry.record_crc32c = RecordCrc(entry);
  }
  const size_t size = count * sizeof(DocumentEntry);
  if (Crc32c(entries.data(), size) != header_.sections[kDocuments].crc32c) return false;
  std::memcpy(file_->writable() + SectionOffset(kDocuments), entries.data(), size);
  return true;
}

Status SegmentExamination::ExamineDocuments(const Limits& limits) {
  constexpr uint32_t kPiece = 64;
  const auto count = static_cast<uint32_t>(expected_.documents);
  std::mutex mutex;
  std::vector<Damage> damaged;
  ThreadPool::Shared().For((count - 1) / kPiece + 1, [&](size_t piece) {
    if (!limits.Check().ok()) return;
    std::vector<Damage> here;
    const auto begin = static_cast<uint32_t>(piece * kPiece);
    for (uint32_t i = begin; i < count && i < begin + kPiece; i++) Judge(i, &here);
    if (here.empty()) return;
    const std::lock_guard lock(mutex);
    damaged.insert(damaged.end(), here.begin(), here.end());
  });
  const Status status = limits.Check();
  if (!status.ok()) return status;
  std::sort(damaged.begin(), damaged.end(),
            [](const Damage& a, const Damage& b) { return a.ordinal < b.ordinal; });
  for (const Damage& damage : damaged) Mend(damage);
  if (!table_whole_) return status;
  // Bytes between blocks, which nobody reads.
  for (uint32_t i = 1; i < count; i++) {
    const DocumentEntry before = Entry(i - 1);
    ExaminePadding(kSectionNames[kTokens],
                   SectionOffset(kTokens) + before.tokens_offset() + TokensSize(before),
                   SectionOffset(kTokens) + Entry(i).tokens_offset());
  }
  return status;
}

// Run by several threads: changes nothing.
void SegmentExamination::Judge(uint32_t ordinal, std::vector<Damage>* damaged) const {
  const DocumentEntry entry = Entry(ordinal);
  Damage damage;
  damage.ordinal = ordinal;
  damage.in_bounds = IsInBounds(entry);
  if (damage.in_bounds) {
    const uint32_t tokens = TokensCrc(entry), record = RecordCrc(entry);
    damage.tokens_whole = tokens == entry.tokens_crc32c && HasPossibleResiduals(entry);
    damage.record_whole = record == entry.record_crc32c;
    if (damage.tokens_whole && damage.record_whole) return;
    damage.in_place = table_whole_ || IsBetweenNeighbours(ordinal);
    // Where nothing vouches for the entry, one of the two must be right as it stands.
    if (damage.in_place && (table_whole_ || damage.tokens_whole || damage.record_whole)) {
      const uint64_t size = TokensSize(entry);
      const uint64_t id_size = entry.id_size(), record_size = entry.record_size;
      if (!damage.tokens_whole && !HasZeroRun(At(kTokens, entry.tokens_offset()), size)) {
        damage.tokens_bit = FindFlippedBit(size, tokens ^ entry.tokens_crc32c);
      }
      if (!damage.record_whole && !HasZeroRun(At(kIds, entry.id_offset()), id_size) &&
          !HasZeroRun(At(kRecords, entry.record_offset()), record_size)) {
        damage.record_bit = FindFlippedBit(id_size + record_size, record ^ entry.record_crc32c);
      }
    }
  }
  damaged->push_back(damage);
}

// Puts a document right if one bit in each of its parts is all that is wrong.
void SegmentExamination::Mend(const Damage& damage) {
  const uint32_t ordinal = damage.ordinal;
  const DocumentEntry entry = Entry(ordinal);
  const uint64_t place = uint64_t{ordinal} * sizeof(DocumentEntry);
  bool tokens_whole = damage.tokens_whole, record_whole = damage.record_whole;
  // A bit of the stored checksum: only where the table's own checksum does not vouch for it.
  const auto mend_checksum = [&](uint64_t bit, size_t field) {
    if (table_whole_) return false;
    Flip(file_->writable() + SectionOffset(kDocuments) + place + field, bit);
    AddBit(kSectionNames[kDocuments], SectionOffset(kDocuments) + place + field + bit / 8, bit % 8,
           ordinal);
    return true;
  };
  if (damage.tokens_bit) {
    const uint64_t bits = TokensSize(entry) * 8, bit = *damage.tokens_bit;
    if (bit >= bits) {
      tokens_whole = HasPossibleResiduals(entry) &&
                     mend_checksum(bit - bits, offsetof(DocumentEntry, tokens_crc32c));
    } else {
      uint8_t* block = file_->writable() + SectionOffset(kTokens) + entry.tokens_offset();
      Flip(block, bit);
      tokens_whole = TokensCrc(entry) == entry.tokens_crc32c && HasPlausibleTokens(entry);
      if (tokens_whole) {
        AddBit(kSectionNames[kTokens], SectionOffset(kTokens) + entry.tokens_offset() + bit / 8,
               bit % 8, ordinal);
      } else {
        Flip(block, bit);
      }
    }
  }
  if (damage.record_bit) {
    const uint64_t id_bits = uint64_t{entry.id_size()} * 8, bit = *damage.record_bit;
    const uint64_t bits = id_bits + uint64_t{entry.record_size} * 8;
    if (bit >= bits) {
      record_whole = mend_checksum(bit - bits, offsetof(DocumentEntry, record_crc32c));
    } else if (bit >= id_bits || !ids_whole_) {  // ids that are whole have no wrong bit
      const Section section = bit < id_bits ? kIds : kRecords;
      const uint64_t offset =
          SectionOffset(section) + (bit < id_bits ? entry.id_offset() + bit / 8
                                                  : entry.record_offset() + (bit - id_bits) / 8);
      Flip(file_->writable() + offset, bit % 8);
      record_whole = RecordCrc(entry) == entry.record_crc32c;
      if (record_whole) {
        AddBit(kSectionNames[section], offset, bit % 8, ordinal);
      } else {
        Flip(file_->writable() + offset, bit % 8);
      }
    }
  }
  if (tokens_whole && record_whole) return;
  const bool id_known = damage.in_bounds && (record_whole || (table_whole_ && ids_whole_));
  states_[ordinal] = id_known ? State::kLostWithId : State::kLost;
  if (!damage.in_place) {
    Lose(kDocuments, ordinal, place, sizeof(DocumentEntry));
    return;
  }
  if (!tokens_whole) Lose(kTokens, ordinal, entry.tokens_offset(), TokensSize(entry));
  if (!record_whole && ids_whole_)
    Lose(kRecords, ordinal, entry.record_offset(), entry.record_size);
  if (!record_whole && !ids_whole_) Lose(kIds, ordinal, entry.id_offset(), entry.id_size());
}

// Of documents with one id, which only damage to the table or a foreign hand can make, the last
// counts, as everywhere.
void SegmentExamination::ExamineRepeats() {
  std::unordered_set<std::string_view> ids;
  for (auto i = static_cast<uint32_t>(expected_.documents); i-- > 0;) {
    if (states_[i] != State::kWhole || ids.insert(*Id(i)).second) continue;
    states_[i] = State::kLost;
    problems_.push_back({kSectionNames[kDocuments],
                         SectionOffset(kDocuments) + uint64_t{i} * sizeof(DocumentEntry),
                         sizeof(DocumentEntry), Text("document %u has the id of a later one", i),
                         Remedy::kNone, i, 1});
  }
}

bool SegmentExamination::IsCanonicalTable() const {
  uint64_t tokens = 0, tokens_end = 0, ids_end = 0, records_end = 0;
  for (uint32_t i = 0; i < expected_.documents; i++) {
    const DocumentEntry entry = Entry(i);
    if (!IsInBounds(entry) || entry.tokens_offset() != AlignUp(tokens_end) ||
        entry.id_offset() != ids_end || entry.record_offset() != records_end) {
      return false;
    }
    tokens += entry.token_count();
    tokens_end = entry.tokens_offset() + TokensSize(entry);
    ids_end += entry.id_size();
    records_end += entry.record_size;
  }
  return tokens == header_.token_count && tokens_end == header_.sections[kTokens].size &&
         ids_end == header_.sections[kIds].size && records_end == header_.sections[kRecords].size;
}

// Whether an entry of a damaged table leads where those beside it leave room: nothing may be mended
// where it leads to by mistake.
bool SegmentExamination::IsBetweenNeighbours(uint32_t ordinal) const {
  const auto follows = [this](const DocumentEntry& before, const DocumentEntry& entry) {
    return entry.tokens_offset() == AlignUp(before.tokens_offset() + TokensSize(before)) &&
           entry.id_offset() == before.id_offset() + before.id_size() &&
           entry.record_offset() == before.record_offset() + before.record_size;
  };
  const DocumentEntry entry = Entry(ordinal);
  return (ordinal == 0 || follows(Entry(ordinal - 1), entry)) &&
         (ordinal + 1 == expected_.documents || follows(entry, Entry(ordinal + 1)));
}

bool SegmentExamination::IsInBounds(const DocumentEntry& entry) const {
  const auto fits = [this](Section section, uint64_t offset, uint64_t size) {
    const uint64_t all = header_.sections[section].size;
    return offset <= all && size <= all - offset;
  };
  return entry.token_count() != 0 && entry.id_size() != 0 && entry.id_size() <= kMaxIdBytes &&
         fits(kTokens, entry.tokens_offset(), TokensSize(entry)) &&
         fits(kIds, entry.id_offset(), entry.id_size()) &&
         fits(kRecords, entry.record_offset(), entry.record_size);
}

// As SegmentReader::ValidateResiduals.
bool SegmentExamination::HasPossibleResiduals(const DocumentEntry& entry) const {
  const Codebook* codebook = expected_.format.tokens.codebook.get();
  if (codebook == nullptr) return true;
  const uint64_t count = entry.token_count(), id_bytes = codebook->id_bytes();
  const uint8_t* factors = At(kTokens, entry.tokens_offset()) + count * codebook->code_bytes();
  const uint8_t* ids = factors + count * sizeof(uint16_t);
  for (uint64_t token = 0; token < count; token++) {
    uint16_t half;
    uint32_t id = 0;
    std::memcpy(&half, factors + token * sizeof(half), sizeof(half));
    std::memcpy(&id, ids + token * id_bytes, id_bytes);
    if (half >= 0x7c00 || id >= codebook->contents().centroid_count) return false;
  }
  return true;
}

// What is asked of tokens that were mended: noise that happens to have the checksum of one flipped
// bit is hardly ever this.
bool SegmentExamination::HasPlausibleTokens(const DocumentEntry& entry) const {
  if (!HasPossibleResiduals(entry)) return false;
  const TokenFormat& format = expected_.format.tokens;
  const size_t count = entry.token_count(), dim = expected_.format.dim;
  const uint8_t* block = At(kTokens, entry.tokens_offset());
  if (format.codec == Codec::kInt8 || format.codec == Codec::kInt8Token) {
    const size_t rows = count * ((dim + 3) / 4 * 4);
    if (std::find(block, block + rows, 0) != block + rows) return false;
  }
  std::vector<float> vectors(count * dim);
  DecodeTokens(format, block, count, dim, vectors.data());
  // With room for rounding.
  const double longest = static_cast<double>(header_.longest) * 1.001;
  for (size_t token = 0; token < count; token++) {
    double squares = 0;
    for (size_t d = 0; d < dim; d++) {
      const double value = static_cast<double>(vectors[token * dim + d]);
      squares += value * value;
    }
    if (!(squares <= longest * longest)) return false;
  }
  return true;
}

uint32_t SegmentExamination::TokensCrc(const DocumentEntry& entry) const {
  return Crc32c(At(kTokens, entry.tokens_offset()), TokensSize(entry));
}

uint32_t SegmentExamination::RecordCrc(const DocumentEntry& entry) const {
  const uint32_t id = Crc32c(At(kIds, entry.id_offset()), entry.id_size());
  return Crc32c(At(kRecords, entry.record_offset()), entry.record_size, id);
}

DocumentEntry SegmentExamination::Entry(uint32_t ordinal) const {
  DocumentEntry entry;
  std::memcpy(&entry, At(kDocuments, uint64_t{ordinal} * sizeof(entry)), sizeof(entry));
  return entry;
}

const uint8_t* SegmentExamination::At(Section section, uint64_t offset) const {
  return file_->data() + SectionOffset(section) + offset;
}

uint64_t SegmentExamination::TokensSize(const DocumentEntry& entry) const {
  return entry.token_count() * expected_.format.TokenBytes();
}

// Neighbours share a problem. `offset` counts from the start of the section.
void SegmentExamination::Lose(Section section, uint32_t ordinal, uint64_t offset, uint64_t size) {
  const char* what = section == kTokens    ? "tokens"
                     : section == kRecords ? "record"
                     : section == kIds     ? "id or record"
                                           : "entry, or what it leads to,";
  offset += SectionOffset(section);
  // Up to three kinds take turns.
  const size_t recent = problems_.size() < 3 ? 0 : problems_.size() - 3;
  for (size_t i = problems_.size(); i-- > recent;) {
    SegmentProblem& before = problems_[i];
    if (before.section != kSectionNames[section] || before.remedy != Remedy::kNone) continue;
    if (before.first_document + before.documents != ordinal) break;
    before.size = offset + size - before.offset;
    before.documents++;
    before.message = Text("the %s of documents %u to %u are not what was written", what,
                          before.first_document, ordinal);
    return;
  }
  problems_.push_back({kSectionNames[section], offset, size,
                       Text("the %s of document %u %s not what was written", what, ordinal,
                            section == kTokens ? "are" : "is"),
                       Remedy::kNone, ordinal, 1});
}

}  // namespace maxsim
