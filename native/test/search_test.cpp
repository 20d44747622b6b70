// What searches rest on: how deep they look, which candidates are kept, and that no document scores
// more than its bound.
#include "index/search.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "index/bounds.h"
#include "index/candidates.h"
#include "index/codes_writer.h"
#include "index_fixtures.h"
#include "maxsim/dispatch.h"
#include "maxsim/rotation.h"
#include "platform/thread_pool.h"

using namespace maxsim;

namespace {

// Two segments with codes, some of whose documents are dead, and one without.
struct CodedStore {
  Store store;
  SearchCodebook search;

  explicit CodedStore(Codec codec) {
    search.codebook = RandomCodebook(1, kDim, 48, 5);
    search.crc32c = CodebookCrc32c(*search.codebook);
    store.format = IndexFormat(codec);
    store.Add("a", SmallCorpus(150, 1));
    store.Add("b", SmallCorpus(90, 2));
    store.Add("c", SmallCorpus(20, 3));
    store.Bury(0, {0, 7, 149});
    const auto plain = store.Open();
    for (size_t i = 0; i < 2; i++) {
      CodesOptions options;
      options.lists = i == 0 ? CodesOptions::Lists::kAlways : CodesOptions::Lists::kNever;
      CodesSummary summary;
      SegmentSpec& spec = store.specs[i];
      spec.codes_file = spec.file + ".codes";
      const Status status = WriteCodes(store.directory / spec.codes_file, plain->segments()[i],
                                       *search.codebook, search.crc32c, {}, options, &summary);
      REQUIRE_MESSAGE(status.ok(), status.message());
      spec.codes_crc32c = summary.header_crc32c;
    }
  }

  std::shared_ptr<const Snapshot> Open() const {
    std::shared_ptr<const Snapshot> snapshot;
    bool missing;
    const Status status = Snapshot::Open(store.directory.str(), store.format, store.specs, {},
                                         nullptr, &snapshot, &missing, search);
    REQUIRE_MESSAGE(status.ok(), status.message());
    return snapshot;
  }
};

// Of any length, and far from unit length.
PreparedQuery QueryOf(Noise& noise, size_t tokens, float length) {
  std::vector<float> values = noise.Floats(tokens * kDim);
  for (float& value : values) value *= length;
  return PreparedQuery(values.data(), tokens, kDim, 8);
}

EncodedTokens LargestOf(const Snapshot& snapshot) {
  EncodedTokens largest;
  for (const Snapshot::Segment& segment : snapshot.segments()) {
    const SegmentHeader& header = segment.reader->header();
    largest.longest = std::max(largest.longest, header.longest);
    largest.largest_factor = std::max(largest.largest_factor, header.largest_factor);
  }
  return largest;
}

float LengthOf(const float (&token)[kDim]) {
  float squares = 0;
  for (const float value : token) squares += value * value;
  return std::sqrt(squares);
}

Status SearchBy(const Snapshot& snapshot, const PreparedQuery& query, const SearchOptions& options,
                std::vector<std::pair<uint32_t, float>>* hits, SearchReport* report) {
  Ranking ranking;
  const Status status = snapshot.Search(query, options, {}, &ranking, report);
  hits->clear();
  for (const ScoredDocument& one : ranking.best) hits->push_back({one.document, one.score});
  return status;
}

}  // namespace

TEST_CASE("a curve says how deep to look: between points, beyond them, in parts, and grown") {
  SearchCurve curve;
  curve.documents = 10'000;
  curve.points = {{1, 100, 0.5}, {10, 400, 0.25}, {100, 1600, 0.125}};
  CHECK(curve.Depth(1, 10'000, 10'000) == 100);
  CHECK(curve.Depth(10, 10'000, 10'000) == 400);
  // Half the way in powers.
  CHECK(curve.Depth(std::sqrt(10.), 10'000, 10'000) == 200);
  CHECK(curve.Depth(200, 10'000, 10'000) == 3200);
  CHECK(curve.Depth(10, 30'000, 30'000) == 1200);
  CHECK(curve.Depth(10, 5'000, 5'000) == 400);
  // A tenth of the documents: 10 of them are the best 100 of all.
  CHECK(curve.Depth(10, 1'000, 10'000) == 160);
  CHECK(curve.Depth(1, 100, 10'000) == 64);
  CHECK(curve.Depth(10, 30, 10'000) == 30);
  CHECK(curve.Depth(10, 0, 10'000) == 0);
  CHECK(curve.Depth(10, 0, 0) == 0);
  CHECK(curve.Depth(4e9, 4e9, 4e9) == 4'000'000'000u);
  CHECK(curve.Margin(10, 10'000, 10'000) == 0.25);
  CHECK(curve.Margin(10, 1'000, 10'000) == 0.125);
  CHECK(curve.Margin(std::sqrt(10.), 10'000, 10'000) == doctest::Approx(0.375));
  CHECK(curve.Margin(10, 0, 10'000) == 0.25);
  curve.points[2].margin = std::numeric_limits<double>::infinity();
  CHECK(std::isinf(curve.Margin(50, 10'000, 10'000)));
  // What was not measured.
  CHECK(SearchCurve().Depth(10, 10'000, 10'000) == 700);
  CHECK(std::isinf(SearchCurve().Margin(10, 10'000, 10'000)));
}

TEST_CASE("the best candidates are kept whoever brings them first, equals in the order of refs") {
  Noise noise(3);
  std::vector<TopCandidates::Candidate> all;
  for (uint32_t ref = 0; ref < 20'000; ref++) {
    all.push_back({static_cast<uint32_t>(noise.Next() >> 32) % 50, ref});
  }
  std::vector<TopCandidates::Candidate> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  for (const size_t depth : {size_t{1}, size_t{17}, size_t{4096}, all.size(), 2 * all.size()}) {
    TopCandidates top(depth);
    ThreadPool::Shared().For(
        100, [&](size_t piece) { top.Offer(std::span(all).subspan((99 - piece) * 200, 200)); });
    std::vector<TopCandidates::Candidate> taken = top.Take();
    std::sort(taken.begin(), taken.end());
    REQUIRE(taken.size() == std::min(depth, all.size()));
    bool same = true;
    for (size_t i = 0; i < taken.size(); i++) same &= taken[i].ref == sorted[i].ref;
    CHECK(same);
  }
}

TEST_CASE("no document scores more than its bound, in every codec and for queries of any length") {
  for (const Codec codec : kAllCodecs) {
    const CodedStore coded(codec);
    const auto snapshot = coded.Open();
    const EncodedTokens largest = LargestOf(*snapshot);
    Noise noise(40);
    for (int round = 0; round < 12; round++) {
      CAPTURE(std::string(CodecName(codec)));
      CAPTURE(round);
      const float length = round % 3 == 0 ? 1e-3f : round % 3 == 1 ? 1.f : 50.f;
      const PreparedQuery query = QueryOf(noise, 1 + 3 * static_cast<size_t>(round), length);
      const BoundTable bounds(query, snapshot->format(), *coded.search.codebook, largest);
      for (size_t number = 0; number < 2; number++) {
        const Snapshot::Segment& segment = snapshot->segments()[number];
        const uint32_t count = segment.reader->document_count();
        std::vector<uint8_t> rows;
        bounds.Fill(*segment.codes, &rows);
        std::vector<uint32_t> sums(count), refs;
        const MaxsimCodes codes = segment.codes->codes();
        Kernels().chosen->scan_codes(rows.data(), static_cast<uint32_t>(query.block_count()),
                                     &codes, nullptr, 0, count, sums.data());
        for (uint32_t i = 0; i < count; i++) {
          if (!segment.IsDead(i)) refs.push_back(segment.base + i);
        }
        const std::vector<float> scores = ScoresOf(*snapshot, query, refs);
        bool within = true;
        for (size_t i = 0; i < refs.size(); i++) {
          within &= static_cast<double>(scores[i]) <= bounds.Score(sums[refs[i] - segment.base]);
        }
        CHECK(within);
      }
    }
  }
}

TEST_CASE("a bound holds, and barely, where a query lies beyond the furthest token of a centroid") {
  double tightest = 0;
  for (const Codec codec : kAllCodecs) {
    const CodedStore coded(codec);
    const auto snapshot = coded.Open();
    const CodebookContents& contents = coded.search.codebook->contents();
    const EncodedTokens largest = LargestOf(*snapshot);
    const Snapshot::Segment& segment = snapshot->segments()[1];
    const MaxsimCodes codes = segment.codes->codes();
    bool within = true;
    for (uint32_t i = 0; i < segment.reader->document_count(); i += 3) {  // of one token
      const MaxsimDocument document = TokensOf(*segment.reader, i);
      REQUIRE(document.token_count == 1);
      float token[kDim], centroid[kDim];
      DecodeTokens(snapshot->format().tokens, static_cast<const uint8_t*>(document.tokens), 1, kDim,
                   token);
      const uint16_t code = static_cast<const uint16_t*>(codes.codes)[codes.starts[i]];
      for (size_t d = 0; d < kDim; d++) {
        centroid[d] = static_cast<float>(contents.rows[code * PaddedDim(kDim) + d]) - 128.f;
      }
      RotateBack(centroid, kDim);
      const float scale = LengthOf(token) / LengthOf(centroid);
      for (const float beyond : {0.f, 0.3f, 1.f, 3.f}) {
        std::vector<float> values(kDim);
        for (size_t d = 0; d < kDim; d++) {
          values[d] = token[d] + beyond * (token[d] - scale * centroid[d]);
        }
        const PreparedQuery query(values.data(), 1, kDim, 8);
        const BoundTable bounds(query, snapshot->format(), *coded.search.codebook, largest);
        std::vector<uint8_t> rows;
        bounds.Fill(*segment.codes, &rows);
        uint32_t sum;
        Kernels().chosen->scan_codes(rows.data(), 1, &codes, nullptr, i, 1, &sum);
        // As if it were the longest token, by whose length all are bounded.
        const double score =
            static_cast<double>(ScoresOf(*snapshot, query, {segment.base + i})[0]) *
            static_cast<double>(largest.longest / LengthOf(token));
        within &= score <= bounds.Score(sum) * (1 + 1e-5);
        if (beyond > 0) tightest = std::max(tightest, score / bounds.Score(sum));
      }
    }
    CHECK(within);
  }
  CHECK(tightest > 0.97);
}

TEST_CASE("certified and deep searches are exhaustive ones, on one thread and on several") {
  for (const Codec codec : kAllCodecs) {
    const CodedStore coded(codec);
    const auto snapshot = coded.Open();
    Noise noise(41);
    for (const size_t k : {size_t{1}, size_t{5}, size_t{1000}}) {
      const PreparedQuery query = QueryOf(noise, 20, 1.f);
      SearchOptions options;
      options.rank.k = k;
      options.method = SearchMethod::kExhaustive;
      std::vector<std::pair<uint32_t, float>> expected, hits;
      SearchReport report;
      REQUIRE(SearchBy(*snapshot, query, options, &expected, &report).ok());
      CHECK(expected.size() == std::min<size_t>(k, 257));
      for (const Threads threads : {Threads::kCaller, Threads::kShared}) {
        for (const SearchMethod method : {SearchMethod::kScan, SearchMethod::kLists}) {
          options.threads = threads;
          options.method = method;
          options.exact = true;
          options.depth = 8;
          SearchReport certified;
          REQUIRE(SearchBy(*snapshot, query, options, &hits, &certified).ok());
          CHECK(hits == expected);
          CHECK(certified.certified);
          CHECK(certified.scored + certified.excluded == 257);
          options.exact = false;
          options.depth = 257;
          REQUIRE(SearchBy(*snapshot, query, options, &hits, &report).ok());
          CHECK(hits.size() == expected.size());
          if (method == SearchMethod::kScan) CHECK(hits == expected);
        }
      }
    }
  }
}

TEST_CASE("codes that are damaged stop searches by codes, and no others") {
  const CodedStore coded(Codec::kInt8);
  const std::string path = coded.store.directory / "a.codes";
  std::vector<uint8_t> bytes = ReadAll(path);
  bytes[bytes.size() - 70] ^= 1;
  WriteAll(path, bytes);
  const auto snapshot = coded.Open();
  const PreparedQuery query = SmallQuery();
  SearchOptions options;
  options.rank.k = 5;
  std::vector<std::pair<uint32_t, float>> hits;
  SearchReport report;
  CHECK(CodeOf(SearchBy(*snapshot, query, options, &hits, &report)) == "CORRUPT_INDEX");
  options.method = SearchMethod::kExhaustive;
  CHECK(SearchBy(*snapshot, query, options, &hits, &report).ok());
  CHECK(hits.size() == 5);
}
