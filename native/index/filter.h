// Which documents may be searched: a tree of conditions on fields, and its evaluation to a bitmap
// over documents of one segment.
#ifndef MAXSIM_INDEX_FILTER_H_
#define MAXSIM_INDEX_FILTER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "index/fields.h"
#include "platform/status.h"

namespace maxsim {

// What 32 levels and 10,000 conditions and values of a caller can need, below a tenant's `and`.
inline constexpr size_t kMaxFilterDepth = 80;
inline constexpr size_t kMaxFilterNodes = 50000;
inline constexpr size_t kMaxFilterValues = 10001;

// Bit i % 64 of word i / 64 is document i; bits beyond the last are 0.
using Bitmap = std::vector<uint64_t>;

inline size_t BitmapWords(size_t documents) { return (documents + 63) / 64; }
inline bool IsSet(const Bitmap& bitmap, size_t i) { return (bitmap[i / 64] >> (i % 64)) & 1; }
uint64_t CountBits(const Bitmap& bitmap);

// One node of a filter's tree, in the order in which the tree is written: a node, then its
// children.
enum class FilterOp : uint32_t {
  kAnd = 1,       // children; of none: true
  kOr,            // children; of none: false
  kNot,           // one child
  kKeywords,      // field, count: one of the next `count` keywords
  kNumbers,       // field, count: one of the next `count` numbers
  kBooleans,      // field, mask: 1 false, 2 true, 3 either
  kKeywordRange,  // field, flags: the next one or two keywords are the bounds
  kNumberRange,   // field, flags: the next one or two numbers
  kExists,        // field, 0: any value
};
// Flags of a range, of which one value must lie within all bounds.
inline constexpr uint32_t kLow = 1, kLowOpen = 2, kHigh = 4, kHighOpen = 8;

struct FilterNode {
  FilterOp op;
  uint32_t field = 0;
  uint32_t mask = 0;  // kBooleans: of values; ranges: flags
  std::vector<std::string> keywords;
  std::vector<double> numbers;  // kNumbers: ascending
  std::vector<FilterNode> children;
};

class CompiledFilter;

// Immutable; good for every snapshot with the same fields.
class Filter {
 public:
  // `ops` is the tree, three words a node: op, then field or number of children, then count, mask
  // or flags. INVALID_ARGUMENT for what is no whole tree over `fields`, too deep or too large.
  static Status Parse(std::vector<Field> fields, std::span<const uint32_t> ops,
                      std::span<const double> numbers, std::vector<std::string> keywords,
                      Filter* filter);

  // For the documents of one segment. INVALID_ARGUMENT when it has other fields. The reader must
  // outlive what is compiled, and so must this.
  Status Compile(const FieldsReader& reader, CompiledFilter* compiled) const;

  const std::vector<Field>& fields() const { return fields_; }

 private:
  std::vector<Field> fields_;
  FilterNode root_{FilterOp::kAnd, 0, 0, {}, {}, {}};
};

// A filter with its values found in one segment's dictionaries. Thread-safe.
class CompiledFilter {
 public:
  // Documents first .. first + count - 1 of the segment.
  void Evaluate(uint32_t first, uint32_t count, Bitmap* bitmap) const;
  // Documents of any order; bit i is ordinals[i].
  void Evaluate(std::span<const uint32_t> ordinals, Bitmap* bitmap) const;

 private:
  friend class Filter;
  enum class Test {
    kAnd,
    kOr,
    kNot,
    kNever,
    kCodeRange,
    kCodeSet,
    kNumberRange,
    kNumberSet,
    kMask
  };
  struct Node {
    Test test = Test::kNever;
    const Column* column = nullptr;
    uint32_t first = 0, count = 0;                 // kCodeRange: codes
    double low = 0, high = 0;                      // kNumberRange: both within
    uint32_t mask = 0;                             // kMask
    std::vector<uint8_t> codes;                    // kCodeSet: by code
    const std::vector<double>* numbers = nullptr;  // kNumberSet: ascending
    std::vector<Node> children;
  };

  static Node CompileNode(const FilterNode& node, const FieldsReader& reader);
  static Node CompileKeywords(const FilterNode& node, const Column& column);
  static Node CompileKeywordRange(const FilterNode& node, const Column& column);
  static Node CompileNumberRange(const FilterNode& node, const Column& column);
  template <typename Place>
  static void EvaluateNode(const Node& node, Place place, size_t count, Bitmap* bitmap);
  template <typename Place>
  static void EvaluateLeaf(const Node& node, Place place, size_t count, Bitmap* bitmap);

  Node root_;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_FILTER_H_
