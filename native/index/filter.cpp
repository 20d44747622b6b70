#include "index/filter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace maxsim {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Bits beyond the last document stay 0, also after a `not`.
void ClearTail(size_t count, Bitmap* bitmap) {
  if (count % 64 != 0) bitmap->back() &= (uint64_t{1} << (count % 64)) - 1;
}

}  // namespace

uint64_t CountBits(const Bitmap& bitmap) {
  uint64_t count = 0;
  for (const uint64_t word : bitmap) count += static_cast<uint64_t>(std::popcount(word));
  return count;
}

namespace {

class Parser {
 public:
  Parser(const std::vector<Field>& fields, std::span<const uint32_t> ops,
         std::span<const double> numbers, std::vector<std::string> keywords)
      : fields_(fields), ops_(ops), numbers_(numbers), keywords_(std::move(keywords)) {}

  // False for what is no whole tree.
  bool Run(FilterNode* root) {
    if (ops_.size() % 3 != 0 || ops_.size() / 3 > kMaxFilterNodes ||
        numbers_.size() + keywords_.size() > kMaxFilterValues) {
      return false;
    }
    return Parse(root, 1) && ops_.empty() && numbers_.empty() && next_ == keywords_.size();
  }

 private:
  bool Parse(FilterNode* node, size_t depth) {
    if (ops_.empty() || depth > kMaxFilterDepth) return false;
    node->op = static_cast<FilterOp>(ops_[0]);
    const uint32_t first = ops_[1], second = ops_[2];
    ops_ = ops_.subspan(3);
    if (node->op == FilterOp::kAnd || node->op == FilterOp::kOr || node->op == FilterOp::kNot) {
      if (second != 0 || first > ops_.size() / 3 || (node->op == FilterOp::kNot && first != 1)) {
        return false;
      }
      node->children.resize(first);
      return std::all_of(node->children.begin(), node->children.end(),
                         [&](FilterNode& child) { return Parse(&child, depth + 1); });
    }
    if (first >= fields_.size()) return false;
    node->field = first;
    node->mask = second;
    const FieldType type = fields_[first].type;
    const auto bounds = static_cast<uint32_t>((second & kLow) != 0) + ((second & kHigh) != 0);
    const bool range = second <= (kLow | kLowOpen | kHigh | kHighOpen) && bounds > 0;
    switch (node->op) {
      case FilterOp::kKeywords:
        return type == FieldType::kKeyword && TakeKeywords(second, node);
      case FilterOp::kKeywordRange:
        return type == FieldType::kKeyword && range && TakeKeywords(bounds, node);
      case FilterOp::kNumbers:
        if (type != FieldType::kNumber || !TakeNumbers(second, node)) return false;
        std::sort(node->numbers.begin(), node->numbers.end());
        return true;
      case FilterOp::kNumberRange:
        return type == FieldType::kNumber && range && TakeNumbers(bounds, node);
      case FilterOp::kBooleans:
        return type == FieldType::kBoolean && second <= 3;
      case FilterOp::kExists:
        return second == 0;
      default:
        return false;
    }
  }

  bool TakeKeywords(size_t count, FilterNode* node) {
    if (count > keywords_.size() - next_) return false;
    for (size_t i = 0; i < count; i++) node->keywords.push_back(std::move(keywords_[next_++]));
    return true;
  }

  bool TakeNumbers(size_t count, FilterNode* node) {
    if (count > numbers_.size()) return false;
    node->numbers.assign(numbers_.begin(), numbers_.begin() + static_cast<std::ptrdiff_t>(count));
    numbers_ = numbers_.subspan(count);
    return std::all_of(node->numbers.begin(), node->numbers.end(),
                       [](double number) { return std::isfinite(number); });
  }

  const std::vector<Field>& fields_;
  std::span<const uint32_t> ops_;
  std::span<const double> numbers_;
  std::vector<std::string> keywords_;
  size_t next_ = 0;  // of the keywords
};

}  // namespace

Status Filter::Parse(std::vector<Field> fields, std::span<const uint32_t> ops,
                     std::span<const double> numbers, std::vector<std::string> keywords,
                     Filter* filter) {
  FilterNode root{FilterOp::kAnd, 0, 0, {}, {}, {}};
  if (!Parser(fields, ops, numbers, std::move(keywords)).Run(&root)) {
    return Status::Error("INVALID_ARGUMENT", "The filter is no whole tree over %zu fields.",
                         fields.size());
  }
  filter->fields_ = std::move(fields);
  filter->root_ = std::move(root);
  return Status::Ok();
}

CompiledFilter::Node CompiledFilter::CompileKeywords(const FilterNode& node, const Column& column) {
  std::vector<uint32_t> codes;
  for (const std::string& keyword : node.keywords) {
    const uint32_t code = column.LowerBound(keyword, false);
    if (code <= column.terms && column.Term(code) == keyword) codes.push_back(code);
  }
  Node compiled;
  compiled.column = &column;
  if (codes.empty()) return compiled;
  const auto [least, greatest] = std::minmax_element(codes.begin(), codes.end());
  if (*least == *greatest) {
    compiled.test = Test::kCodeRange;
    compiled.first = *least;
    compiled.count = 1;
    return compiled;
  }
  compiled.test = Test::kCodeSet;
  compiled.codes.resize(column.terms + size_t{1});
  for (const uint32_t code : codes) compiled.codes[code] = 1;
  return compiled;
}

CompiledFilter::Node CompiledFilter::CompileKeywordRange(const FilterNode& node,
                                                         const Column& column) {
  uint32_t first = 1, end = column.terms + 1;
  size_t bound = 0;
  if (node.mask & kLow) first = column.LowerBound(node.keywords[bound++], node.mask & kLowOpen);
  if (node.mask & kHigh) end = column.LowerBound(node.keywords[bound], !(node.mask & kHighOpen));
  Node compiled;
  compiled.column = &column;
  if (first >= end) return compiled;
  compiled.test = Test::kCodeRange;
  compiled.first = first;
  compiled.count = end - first;
  return compiled;
}

CompiledFilter::Node CompiledFilter::CompileNumberRange(const FilterNode& node,
                                                        const Column& column) {
  Node compiled;
  compiled.test = Test::kNumberRange;
  compiled.column = &column;
  // Closed at both ends: nothing lies between a number and the next one. No value compares with
  // NaN.
  compiled.low = -kInfinity;
  compiled.high = kInfinity;
  size_t bound = 0;
  if (node.mask & kLow) {
    const double low = node.numbers[bound++];
    compiled.low = node.mask & kLowOpen ? std::nextafter(low, kInfinity) : low;
  }
  if (node.mask & kHigh) {
    const double high = node.numbers[bound];
    compiled.high = node.mask & kHighOpen ? std::nextafter(high, -kInfinity) : high;
  }
  return compiled;
}

CompiledFilter::Node CompiledFilter::CompileNode(const FilterNode& node,
                                                 const FieldsReader& reader) {
  Node compiled;
  const auto inner = [&](Test test) {
    compiled.test = test;
    for (const FilterNode& child : node.children) {
      compiled.children.push_back(CompileNode(child, reader));
    }
    return std::move(compiled);
  };
  if (node.op == FilterOp::kAnd) return inner(Test::kAnd);
  if (node.op == FilterOp::kOr) return inner(Test::kOr);
  if (node.op == FilterOp::kNot) return inner(Test::kNot);
  const Column& column = reader.columns()[node.field];
  switch (node.op) {
    case FilterOp::kKeywords:
      return CompileKeywords(node, column);
    case FilterOp::kKeywordRange:
      return CompileKeywordRange(node, column);
    case FilterOp::kNumberRange:
      return CompileNumberRange(node, column);
    case FilterOp::kNumbers:
      compiled.column = &column;
      if (node.numbers.empty()) return compiled;
      if (node.numbers.front() == node.numbers.back()) {
        compiled.test = Test::kNumberRange;
        compiled.low = compiled.high = node.numbers.front();
        return compiled;
      }
      compiled.test = Test::kNumberSet;
      compiled.numbers = &node.numbers;
      return compiled;
    case FilterOp::kBooleans:
      compiled.column = &column;
      compiled.test = Test::kMask;
      compiled.mask = node.mask;
      return compiled;
    default:  // kExists
      compiled.column = &column;
      compiled.test = column.field.type == FieldType::kKeyword  ? Test::kCodeRange
                      : column.field.type == FieldType::kNumber ? Test::kNumberRange
                                                                : Test::kMask;
      compiled.first = 1;
      compiled.count = column.terms;
      compiled.low = -kInfinity;
      compiled.high = kInfinity;
      compiled.mask = 3;
      return compiled;
  }
}

Status Filter::Compile(const FieldsReader& reader, CompiledFilter* compiled) const {
  const std::vector<Column>& columns = reader.columns();
  bool same = columns.size() == fields_.size();
  for (size_t i = 0; same && i < fields_.size(); i++) same = columns[i].field == fields_[i];
  if (!same) {
    return Status::Error("INVALID_ARGUMENT", "The filter is for other fields than the index has.");
  }
  compiled->root_ = CompiledFilter::CompileNode(root_, reader);
  return Status::Ok();
}

namespace {

// Eight bytes of 0 or 1 as eight bits, the first one lowest.
uint64_t Pack(const uint8_t* flags) {
  uint64_t bytes;
  std::memcpy(&bytes, flags, sizeof(bytes));
  return (bytes * 0x0102040810204080) >> 56;
}

// A bit for each of `count` documents. Bytes first: compilers make vector code of that loop.
template <typename Match>
void Fill(size_t count, Bitmap* bitmap, Match match) {
  bitmap->resize(BitmapWords(count));
  uint8_t flags[64];
  size_t word = 0;
  const auto store = [&] {
    uint64_t bits = 0;
    for (size_t byte = 0; byte < 8; byte++) bits |= Pack(flags + 8 * byte) << (8 * byte);
    (*bitmap)[word] = bits;
  };
  for (; word < count / 64; word++) {
    for (size_t i = 0; i < 64; i++) flags[i] = match(word * 64 + i) ? 1 : 0;
    store();
  }
  if (count % 64 == 0) return;
  std::memset(flags, 0, sizeof(flags));
  for (size_t i = 0; i < count % 64; i++) flags[i] = match(word * 64 + i) ? 1 : 0;
  store();
}

// `match` of one value; a document with several matches if any does.
template <typename T, typename Place, typename Match>
void FillColumn(const Column& column, Place place, size_t count, Bitmap* bitmap, Match match) {
  const T* values = reinterpret_cast<const T*>(column.values);
  if (!column.multiple) {
    return Fill(count, bitmap, [=](size_t i) { return match(values[place(i)]); });
  }
  const uint32_t* starts = column.starts;
  Fill(count, bitmap, [=](size_t i) {
    const uint32_t ordinal = place(i);
    bool any = false;
    for (uint32_t v = starts[ordinal]; v < starts[ordinal + 1]; v++) any |= match(values[v]);
    return any;
  });
}

template <typename Place, typename Match>
void FillCodes(const Column& column, Place place, size_t count, Bitmap* bitmap, Match match) {
  if (column.width == 1) return FillColumn<uint8_t>(column, place, count, bitmap, match);
  if (column.width == 2) return FillColumn<uint16_t>(column, place, count, bitmap, match);
  FillColumn<uint32_t>(column, place, count, bitmap, match);
}

}  // namespace

template <typename Place>
void CompiledFilter::EvaluateLeaf(const Node& node, Place place, size_t count, Bitmap* bitmap) {
  switch (node.test) {
    case Test::kCodeRange: {
      const uint32_t first = node.first, size = node.count;
      return FillCodes(*node.column, place, count, bitmap,
                       [=](uint32_t code) { return code - first < size; });
    }
    case Test::kCodeSet: {
      const uint8_t* codes = node.codes.data();
      return FillCodes(*node.column, place, count, bitmap,
                       [=](uint32_t code) { return codes[code] != 0; });
    }
    case Test::kNumberRange: {
      const double low = node.low, high = node.high;
      return FillColumn<double>(*node.column, place, count, bitmap,
                                [=](double x) { return (x >= low) & (x <= high); });
    }
    case Test::kNumberSet: {
      const std::vector<double>& numbers = *node.numbers;
      return FillColumn<double>(*node.column, place, count, bitmap, [&](double x) {
        return !std::isnan(x) && std::binary_search(numbers.begin(), numbers.end(), x);
      });
    }
    case Test::kMask: {
      const uint32_t mask = node.mask;
      return FillColumn<uint8_t>(*node.column, place, count, bitmap,
                                 [=](uint8_t value) { return (value & mask) != 0; });
    }
    default:  // kNever
      bitmap->assign(BitmapWords(count), 0);
  }
}

template <typename Place>
void CompiledFilter::EvaluateNode(const Node& node, Place place, size_t count, Bitmap* bitmap) {
  if (node.test == Test::kNot) {
    EvaluateNode(node.children[0], place, count, bitmap);
    for (uint64_t& word : *bitmap) word = ~word;
    return ClearTail(count, bitmap);
  }
  if (node.test != Test::kAnd && node.test != Test::kOr) {
    return EvaluateLeaf(node, place, count, bitmap);
  }
  const bool all = node.test == Test::kAnd;
  if (node.children.empty()) {
    bitmap->assign(BitmapWords(count), all ? ~uint64_t{0} : 0);
    return ClearTail(count, bitmap);
  }
  EvaluateNode(node.children[0], place, count, bitmap);
  Bitmap other;
  for (size_t child = 1; child < node.children.size(); child++) {
    EvaluateNode(node.children[child], place, count, &other);
    for (size_t i = 0; i < other.size(); i++) {
      (*bitmap)[i] = all ? (*bitmap)[i] & other[i] : (*bitmap)[i] | other[i];
    }
  }
}

void CompiledFilter::Evaluate(uint32_t first, uint32_t count, Bitmap* bitmap) const {
  EvaluateNode(
      root_, [=](size_t i) { return first + static_cast<uint32_t>(i); }, count, bitmap);
}

void CompiledFilter::Evaluate(std::span<const uint32_t> ordinals, Bitmap* bitmap) const {
  const uint32_t* list = ordinals.data();
  EvaluateNode(
      root_, [=](size_t i) { return list[i]; }, ordinals.size(), bitmap);
}

}  // namespace maxsim
