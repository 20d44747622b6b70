// Filters: random trees over random documents against a plain evaluator, in snapshots with dead
// documents; and trees that are none.
#include "index/filter.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "field_fixtures.h"
#include "index_fixtures.h"

using namespace maxsim;

namespace {

// A filter as JavaScript writes it, and the same as a function.
struct Written {
  std::vector<uint32_t> ops;
  std::vector<double> numbers;
  std::vector<std::string> keywords;
  std::function<bool(const FieldDocument&)> matches;
};

class Author {
 public:
  explicit Author(uint64_t seed) : noise_(seed) {}

  Written Tree() {
    Written written;
    written.matches = Node(written, 0);
    return written;
  }

 private:
  using Matches = std::function<bool(const FieldDocument&)>;

  size_t Below(size_t n) { return static_cast<size_t>(noise_.Next() >> 33) % n; }
  void Op(Written& to, FilterOp op, size_t first, size_t second) {
    to.ops.push_back(static_cast<uint32_t>(op));
    to.ops.push_back(static_cast<uint32_t>(first));
    to.ops.push_back(static_cast<uint32_t>(second));
  }
  std::string Keyword() {
    const size_t number = Below(8);
    return number == 0 ? std::string() : std::string(1 + number % 2, 'a') + std::to_string(number);
  }

  Matches Node(Written& to, size_t depth) {
    const size_t kind = depth > 3 ? 3 + Below(6) : Below(9);
    if (kind == 0 || kind == 1) {
      const size_t count = Below(4);
      Op(to, kind == 0 ? FilterOp::kAnd : FilterOp::kOr, count, 0);
      std::vector<Matches> children;
      for (size_t i = 0; i < count; i++) children.push_back(Node(to, depth + 1));
      return [children, all = kind == 0](const FieldDocument& document) {
        const auto matches = [&](const Matches& child) { return child(document); };
        return all ? std::all_of(children.begin(), children.end(), matches)
                   : std::any_of(children.begin(), children.end(), matches);
      };
    }
    if (kind == 2) {
      Op(to, FilterOp::kNot, 1, 0);
      return
          [child = Node(to, depth + 1)](const FieldDocument& document) { return !child(document); };
    }
    if (kind == 3) return Keywords(to);
    if (kind == 4) return Numbers(to);
    if (kind == 5) return KeywordRange(to);
    if (kind == 6) return NumberRange(to);
    if (kind == 7) {
      const size_t mask = Below(4);
      Op(to, FilterOp::kBooleans, 4, mask);
      return [mask](const FieldDocument& document) {
        return ((mask & 1) && document[4].booleans.contains(false)) ||
               ((mask & 2) && document[4].booleans.contains(true));
      };
    }
    const size_t field = Below(5);
    Op(to, FilterOp::kExists, field, 0);
    return [field](const FieldDocument& document) { return document[field] != FieldValues(); };
  }

  Matches Keywords(Written& to) {
    const size_t field = Below(2), count = Below(4);
    Op(to, FilterOp::kKeywords, field, count);
    std::set<std::string> wanted;
    for (size_t i = 0; i < count; i++) {
      to.keywords.push_back(Keyword());
      wanted.insert(to.keywords.back());
    }
    return [field, wanted](const FieldDocument& document) {
      return std::any_of(wanted.begin(), wanted.end(), [&](const std::string& keyword) {
        return document[field].keywords.contains(keyword);
      });
    };
  }

  Matches Numbers(Written& to) {
    const size_t field = 2 + Below(2), count = Below(4);
    Op(to, FilterOp::kNumbers, field, count);
    std::set<double> wanted;
    for (size_t i = 0; i < count; i++) {
      to.numbers.push_back(static_cast<double>(Below(80)) / 4 - 10);
      wanted.insert(to.numbers.back());
    }
    return [field, wanted](const FieldDocument& document) {
      return std::any_of(wanted.begin(), wanted.end(),
                         [&](double number) { return document[field].numbers.contains(number); });
    };
  }

  uint32_t Flags() {
    const uint32_t flags[] = {kLow,
                              kLow | kLowOpen,
                              kHigh,
                              kHigh | kHighOpen,
                              kLow | kHigh,
                              kLow | kLowOpen | kHigh,
                              kLow | kHigh | kHighOpen,
                              kLow | kLowOpen | kHigh | kHighOpen};
    return flags[Below(8)];
  }

  template <typename T>
  static bool Within(const T& value, uint32_t flags, const T& low, const T& high) {
    if ((flags & kLow) && (flags & kLowOpen ? value <= low : value < low)) return false;
    return !((flags & kHigh) && (flags & kHighOpen ? value >= high : value > high));
  }

  Matches KeywordRange(Written& to) {
    const size_t field = Below(2);
    const uint32_t flags = Flags();
    const std::string low = Keyword(), high = Keyword();
    Op(to, FilterOp::kKeywordRange, field, flags);
    if (flags & kLow) to.keywords.push_back(low);
    if (flags & kHigh) to.keywords.push_back(high);
    return [=](const FieldDocument& document) {
      const auto& values = document[field].keywords;
      return std::any_of(values.begin(), values.end(),
                         [&](const std::string& value) { return Within(value, flags, low, high); });
    };
  }

  Matches NumberRange(Written& to) {
    const size_t field = 2 + Below(2);
    const uint32_t flags = Flags();
    const double low = static_cast<double>(Below(20)) - 10,
                 high = static_cast<double>(Below(20)) - 10;
    Op(to, FilterOp::kNumberRange, field, flags);
    if (flags & kLow) to.numbers.push_back(low);
    if (flags & kHigh) to.numbers.push_back(high);
    return [=](const FieldDocument& document) {
      const auto& values = document[field].numbers;
      return std::any_of(values.begin(), values.end(),
                         [&](double value) { return Within(value, flags, low, high); });
    };
  }

  Noise noise_;
};

Status Parse(const Written& written, Filter* filter) {
  return Filter::Parse(kTestFields, written.ops, written.numbers, written.keywords, filter);
}

// Segments of 300, 64, 129 and 1 documents, some of them dead.
struct FilledStore : Store {
  std::vector<FieldDocument> documents;  // by ref
  std::vector<bool> dead;

  FilledStore() {
    Noise noise(11);
    uint64_t number = 0;
    for (const size_t count : {300u, 64u, 129u, 1u}) {
      const Corpus corpus = SmallCorpus(count, ++number);
      std::vector<FieldDocument> own;
      for (size_t i = 0; i < count; i++) own.push_back(RandomFields(noise, 8));
      std::vector<FloatDocuments::Document> given;
      for (size_t i = 0; i < count; i++) {
        given.push_back({corpus.ids[i], corpus.vectors[i], corpus.records[i]});
      }
      FloatDocuments source(format, std::move(given), WriterOf(own));
      const std::string file = "s" + std::to_string(number);
      Add(file, WriteSource(directory / file, format, source));
      std::vector<uint32_t> buried;
      for (uint32_t i = 0; i < count; i++) {
        dead.push_back(number < 4 && noise.Next() % 8 == 0);
        if (dead.back()) buried.push_back(i);
      }
      if (!buried.empty()) Bury(number - 1, buried);
      documents.insert(documents.end(), own.begin(), own.end());
    }
  }
};

}  // namespace

TEST_CASE("what matches is what a plain evaluator says, however it is asked") {
  const FilledStore store;
  const auto snapshot = store.Open();
  const PreparedQuery query = SmallQuery();
  Ranking everything;
  REQUIRE(SearchAll(*snapshot, query, {1000}, {}, &everything).ok());
  Author author(5);
  Noise noise(6);
  size_t some = 0;
  for (int round = 0; round < 400; round++) {
    const Written written = author.Tree();
    Filter filter;
    const Status parsed = Parse(written, &filter);
    REQUIRE_MESSAGE(parsed.ok(), parsed.message());
    std::vector<uint32_t> expected, live;
    for (uint32_t ref = 0; ref < store.documents.size(); ref++) {
      if (store.dead[ref]) continue;
      live.push_back(ref);
      if (!written.matches(store.documents[ref])) continue;
      expected.push_back(ref);
    }
    if (!expected.empty() && expected.size() < live.size()) some++;
    CAPTURE(round);

    std::vector<uint32_t> refs;
    REQUIRE(snapshot->AllMatching(filter, {}, &refs).ok());
    CHECK(refs == expected);
    uint64_t count = 0;
    REQUIRE(snapshot->Count(filter, {}, &count).ok());
    CHECK(count == expected.size());

    // By pages, of a size that changes.
    std::vector<uint32_t> paged, page;
    for (uint32_t next = 0; next < snapshot->ref_count();) {
      REQUIRE(snapshot->Matching(filter, next, 1 + noise.Next() % 90, &page, &next).ok());
      paged.insert(paged.end(), page.begin(), page.end());
    }
    CHECK(paged == expected);

    // For candidates in any order, unknown and repeated ones among them.
    std::vector<uint32_t> candidates;
    for (int i = 0; i < 70; i++) {
      candidates.push_back(i % 9 == 0 ? Snapshot::kUnknown : live[noise.Next() % live.size()]);
    }
    std::vector<uint8_t> matches;
    REQUIRE(snapshot->Match(filter, candidates, &matches).ok());
    for (size_t i = 0; i < candidates.size(); i++) {
      CHECK(matches[i] ==
            (std::binary_search(expected.begin(), expected.end(), candidates[i]) ? 1 : 0));
    }

    // A search finds what the whole ranking has of them, in its order.
    const size_t k = 1 + noise.Next() % 20;
    Ranking ranking;
    REQUIRE(SearchAll(*snapshot, query, {k}, {}, &ranking, &filter).ok());
    std::vector<std::pair<uint32_t, float>> found, wanted;
    for (const ScoredDocument& one : ranking.best) found.emplace_back(one.document, one.score);
    for (const ScoredDocument& one : everything.best) {
      if (wanted.size() < k && std::binary_search(expected.begin(), expected.end(), one.document)) {
        wanted.emplace_back(one.document, one.score);
      }
    }
    CHECK(found == wanted);
  }
  CHECK(some > 100);
}

TEST_CASE("keywords are tallied over live documents") {
  const FilledStore store;
  const auto snapshot = store.Open();
  std::map<std::string, uint64_t> expected;
  for (size_t ref = 0; ref < store.documents.size(); ref++) {
    if (store.dead[ref]) continue;
    for (const std::string& tag : store.documents[ref][1].keywords) expected[tag]++;
  }
  std::map<std::string, Tally> tallies;
  REQUIRE(snapshot->TallyKeywords(1, &tallies).ok());
  std::map<std::string, uint64_t> found;
  for (const auto& [tag, tally] : tallies) found[tag] = tally.documents;
  CHECK(found == expected);
  CHECK(CodeOf(snapshot->TallyKeywords(2, &tallies)) == "INVALID_ARGUMENT");
  CHECK(CodeOf(snapshot->TallyKeywords(9, &tallies)) == "INVALID_ARGUMENT");
}

TEST_CASE("a filter for other fields, and a dead candidate, are refused") {
  const FilledStore store;
  const auto snapshot = store.Open();
  Filter filter;
  REQUIRE(Filter::Parse({{"lang", FieldType::kKeyword}}, std::vector<uint32_t>{1, 0, 0}, {}, {},
                        &filter)
              .ok());
  std::vector<uint32_t> refs;
  CHECK(CodeOf(snapshot->AllMatching(filter, {}, &refs)) == "INVALID_ARGUMENT");
  REQUIRE(Filter::Parse(kTestFields, std::vector<uint32_t>{1, 0, 0}, {}, {}, &filter).ok());
  std::vector<uint8_t> matches;
  const auto dead = static_cast<uint32_t>(std::find(store.dead.begin(), store.dead.end(), true) -
                                          store.dead.begin());
  CHECK(CodeOf(snapshot->Match(filter, std::vector<uint32_t>{dead}, &matches)) ==
        "INVALID_ARGUMENT");
  const std::atomic<bool> cancelled{true};
  CHECK(CodeOf(snapshot->AllMatching(filter, {&cancelled, {}}, &refs)) == "ABORTED");
}

TEST_CASE("what is no whole tree is refused, and random words do no harm") {
  const auto refused = [](std::vector<uint32_t> ops, std::vector<double> numbers = {},
                          std::vector<std::string> keywords = {}) {
    Filter filter;
    return CodeOf(Filter::Parse(kTestFields, ops, numbers, keywords, &filter)) ==
           "INVALID_ARGUMENT";
  };
  CHECK(refused({}));
  CHECK(refused({1, 0}));
  CHECK(refused({0, 0, 0}));
  CHECK(refused({10, 0, 0}));
  CHECK(refused({1, 1, 0}));                    // a child that is not there
  CHECK(refused({1, 0, 0, 1, 0, 0}));           // two roots
  CHECK(refused({3, 2, 0, 1, 0, 0, 1, 0, 0}));  // not of two
  CHECK(refused({4, 5, 0}));                    // no such field
  CHECK(refused({4, 2, 0}));                    // keywords of a number
  CHECK(refused({4, 0, 1}));                    // a keyword that is not there
  CHECK(refused({4, 0, 0}, {}, {"a"}));         // one too many
  CHECK(refused({5, 2, 1}, {NAN}));
  CHECK(refused({6, 4, 4}));
  CHECK(refused({8, 2, 2}, {1}));  // open, but no bound
  CHECK(refused({8, 2, 5}, {1}));
  std::vector<uint32_t> deep;
  for (size_t i = 0; i < kMaxFilterDepth; i++) deep.insert(deep.end(), {3, 1, 0});
  deep.insert(deep.end(), {1, 0, 0});
  CHECK(refused(deep));
  CHECK(!refused({deep.begin() + 3, deep.end()}));
  Noise noise(8);
  for (int round = 0; round < 20000; round++) {
    std::vector<uint32_t> ops(3 * (1 + noise.Next() % 5));
    for (uint32_t& op : ops) op = static_cast<uint32_t>(noise.Next() >> 40) % 11;
    refused(ops, {1, 2}, {"a", "b", "c"});
  }
}
