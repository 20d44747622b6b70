// Scores and rankings of snapshots: those of the scalar kernels, whatever the threads and whatever
// is given up early.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "index_fixtures.h"
#include "maxsim/scan.h"
#include "maxsim_of.h"

using namespace maxsim;

namespace {

// Emulation, where this architecture is mostly tested, takes twenty times as long.
#if defined(__aarch64__)
constexpr int kRounds = 6;
#else
constexpr int kRounds = 24;
#endif

// Documents around some topics, a few of them there twice.
Corpus Topics(size_t documents, size_t dim, uint32_t most_tokens, uint64_t seed) {
  Noise noise(seed);
  const std::vector<float> topics = UnitTokens(12, dim, noise);
  Corpus corpus;
  for (size_t i = 0; i < documents; i++) {
    corpus.Add(std::to_string(seed) + "-" + std::to_string(i),
               1 + (noise.Next() >> 40) % most_tokens, noise, dim);
    std::vector<float>& vectors = corpus.vectors.back();
    for (size_t t = 0; t < vectors.size(); t += dim) {
      const float* topic = &topics[((noise.Next() >> 40) + i) % 3 * 4 * dim + (i % 4) * dim];
      double squares = 0;
      for (size_t d = 0; d < dim; d++) {
        vectors[t + d] = topic[d] + 0.1f * vectors[t + d];
        squares += static_cast<double>(vectors[t + d]) * vectors[t + d];
      }
      for (size_t d = 0; d < dim; d++) {
        vectors[t + d] = static_cast<float>(vectors[t + d] / std::sqrt(squares));
      }
    }
    if (i % 5 == 4) vectors = corpus.vectors[i - 3];  // a tie
  }
  return corpus;
}

// A query that asks for what one document says, and for some noise.
std::vector<float> Question(const Corpus& corpus, size_t document, size_t tokens, size_t dim,
                            Noise& noise) {
  std::vector<float> question = UnitTokens(tokens, dim, noise);
  const std::vector<float>& vectors = corpus.vectors[document];
  for (size_t i = 0; i < question.size(); i++) {
    question[i] = 0.3f * question[i] + vectors[i % vectors.size()];
  }
  return question;
}

Store StoreOf(Codec codec, size_t dim, const Corpus& first, const Corpus& second) {
  Store store;
  store.format = IndexFormat(codec, dim);
  store.Add("a", first);
  store.Add("b", second);
  return store;
}

bool Same(const std::vector<ScoredDocument>& a, const std::vector<ScoredDocument>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const ScoredDocument& x, const ScoredDocument& y) {
                      return x.document == y.document && x.score == y.score;
                    });
}

// The best k, by sorting all.
std::vector<ScoredDocument> BestOf(const std::vector<float>& scores,
                                   const std::vector<uint32_t>& numbers, size_t k) {
  std::vector<ScoredDocument> all;
  for (size_t i = 0; i < scores.size(); i++) all.push_back({numbers[i], scores[i]});
  std::sort(all.begin(), all.end(), [](const ScoredDocument& a, const ScoredDocument& b) {
    return a.score != b.score ? a.score > b.score : a.document < b.document;
  });
  all.resize(std::min(k, all.size()));
  return all;
}

std::vector<uint32_t> LiveRefs(const Snapshot& snapshot) {
  std::vector<uint32_t> refs;
  for (uint32_t ref = 0; ref < snapshot.ref_count(); ref++) {
    const Snapshot::Segment* segment;
    uint32_t ordinal;
    if (snapshot.Locate(ref, &segment, &ordinal)) refs.push_back(ref);
  }
  return refs;
}

std::vector<uint32_t> Numbers(size_t count) {
  std::vector<uint32_t> numbers(count);
  for (size_t i = 0; i < count; i++) numbers[i] = static_cast<uint32_t>(i);
  return numbers;
}

}  // namespace

TEST_CASE("a snapshot's scores are those of the scalar kernels, in every codec") {
  constexpr size_t kWidth = 20;
  const Corpus first = Topics(40, kWidth, 30, 1), second = Topics(40, kWidth, 30, 2);
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    Store store = StoreOf(codec, kWidth, first, second);
    store.Bury(0, {1, 39});
    const auto snapshot = store.Open();
    Noise noise(3);
    const std::vector<uint32_t> refs = LiveRefs(*snapshot);
    CHECK(refs.size() == 78);
    for (const size_t query_tokens : {1, 16, 33, 100}) {
      const std::vector<float> tokens = UnitTokens(query_tokens, kWidth, noise);
      for (const unsigned bits : {8u, 7u}) {
        const PreparedQuery query(tokens.data(), query_tokens, kWidth, bits);
        const std::vector<float> scores = ScoresOf(*snapshot, query, refs);
        CHECK(ScoresOf(*snapshot, query, refs, Threads::kCaller) == scores);
        for (size_t i = 0; i < refs.size(); i++) {
          const Snapshot::Segment* segment;
          uint32_t ordinal;
          REQUIRE(snapshot->Locate(refs[i], &segment, &ordinal));
          const MaxsimDocument document = TokensOf(*segment->reader, ordinal);
          float expected;
          ScoreWith(kMaxsimScalar, query, store.format.tokens, {&document, 1}, nullptr, &expected);
          if (IsRotated(codec)) {
            CHECK(scores[i] == expected);
          } else {
            CHECK(std::fabs(scores[i] - expected) <=
                  1e-5 * static_cast<double>(query_tokens) * 1.01);
          }
          std::vector<TokenMatch> matches(query_tokens);
          Explain(query, store.format.tokens, document, matches.data());
          double sum = 0, magnitude = 0;
          for (const TokenMatch& match : matches) {
            sum += static_cast<double>(match.contribution);
            magnitude += std::fabs(static_cast<double>(match.contribution));
          }
          CHECK(std::fabs(sum - static_cast<double>(scores[i])) <= 1e-5 * magnitude);
        }
      }
    }
  }
}

TEST_CASE("rankings with and without early exit are the same, ties and all, in every codec") {
  constexpr size_t kWidth = 20;
  const Corpus first = Topics(150, kWidth, 12, 1), second = Topics(110, kWidth, 12, 2);
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    Store store = StoreOf(codec, kWidth, first, second);
    store.Bury(1, {0, 7, 8, 50});
    const auto snapshot = store.Open();
    const std::vector<uint32_t> live = LiveRefs(*snapshot);
    Noise noise(4);
    uint64_t skipped = 0;
    for (int round = 0; round < kRounds; round++) {
      const size_t query_tokens = 33 + (noise.Next() >> 40) % 68;
      const std::vector<float> tokens =
          Question(first, (noise.Next() >> 40) % 150, query_tokens, kWidth, noise);
      const PreparedQuery query(tokens.data(), query_tokens, kWidth, round % 2 == 0 ? 8 : 7);
      // Candidates in any order, some of them twice.
      std::vector<uint32_t> refs = live;
      for (size_t i = refs.size(); i-- > 1;)
        std::swap(refs[i], refs[(noise.Next() >> 30) % (i + 1)]);
      for (size_t i = 0; i < refs.size(); i += 9) refs[i] = refs[i / 2];
      const std::vector<float> scores = ScoresOf(*snapshot, query, refs);
      const std::vector<float> all_scores = ScoresOf(*snapshot, query, live);
      for (const size_t k : {0, 1, 10, 100, 1000}) {
        CAPTURE(k);
        const Request request{&query, refs};
        for (const bool early_exit : {true, false}) {
          for (const Threads threads : {Threads::kCaller, Threads::kShared}) {
            std::vector<Ranking> rankings;
            REQUIRE(snapshot->Rank({&request, 1}, {k, early_exit}, {}, threads, &rankings).ok());
            REQUIRE(rankings.size() == 1);
            CHECK(Same(rankings[0].best, BestOf(scores, Numbers(refs.size()), k)));
            if (!early_exit) CHECK(rankings[0].skipped == 0);
            if (k > 0) skipped += rankings[0].skipped;
          }
          Ranking ranking;
          REQUIRE(SearchAll(*snapshot, query, {k, early_exit}, {}, &ranking).ok());
          CHECK(Same(ranking.best, BestOf(all_scores, live, k)));
          if (!early_exit) CHECK(ranking.skipped == 0);
          if (k > 0) skipped += ranking.skipped;
          CHECK(ranking.skipped + ranking.best.size() <= live.size());
        }
      }
    }
    CHECK(skipped > 0);
  }
}

TEST_CASE("threads that share a large store rank and score as one does") {
  constexpr size_t kWidth = 64;
  const Corpus first = Topics(300, kWidth, 120, 1), second = Topics(300, kWidth, 120, 2);
  for (const Codec codec : {Codec::kInt8, Codec::kF16, Codec::kR2}) {
    CAPTURE(std::string(CodecName(codec)));
    const Store store = StoreOf(codec, kWidth, first, second);
    const auto snapshot = store.Open();
    CHECK(snapshot->live_tokens() * kWidth > size_t{2} << 20);  // or it is not shared
    const std::vector<uint32_t> live = LiveRefs(*snapshot);
    Noise noise(5);
    for (int round = 0; round < 4; round++) {
      const std::vector<float> tokens =
          Question(first, static_cast<size_t>(round), 40, kWidth, noise);
      const PreparedQuery query(tokens.data(), 40, kWidth, 8);
      const std::vector<float> scores = ScoresOf(*snapshot, query, live, Threads::kCaller);
      CHECK(ScoresOf(*snapshot, query, live, Threads::kShared) == scores);
      const std::vector<ScoredDocument> expected = BestOf(scores, live, 10);
      for (const bool early_exit : {true, false}) {
        Ranking ranking;
        REQUIRE(SearchAll(*snapshot, query, {10, early_exit}, {}, &ranking).ok());
        CHECK(Same(ranking.best, expected));
        const Request request{&query, live};
        std::vector<Ranking> rankings;
        REQUIRE(
            snapshot->Rank({&request, 1}, {10, early_exit}, {}, Threads::kShared, &rankings).ok());
        CHECK(Same(rankings[0].best, expected));
      }
    }
  }
}

TEST_CASE("several requests in one call are answered as one by one") {
  const Corpus first = Topics(60, kDim, 10, 1), second = Topics(60, kDim, 10, 2);
  for (const Codec codec : {Codec::kInt8Token, Codec::kBf16, Codec::kR4}) {
    const Store store = StoreOf(codec, kDim, first, second);
    const auto snapshot = store.Open();
    Noise noise(6);
    std::vector<std::unique_ptr<PreparedQuery>> queries;
    std::vector<std::vector<uint32_t>> refs;
    std::vector<Request> requests;
    for (size_t i = 0; i < 9; i++) {
      const size_t tokens = 1 + (noise.Next() >> 40) % 60;
      queries.push_back(
          std::make_unique<PreparedQuery>(UnitTokens(tokens, kDim, noise).data(), tokens, kDim, 8));
      refs.emplace_back();
      for (size_t r = 0; r < i * i; r++) {
        refs.back().push_back(static_cast<uint32_t>((noise.Next() >> 40) % 120));
      }
    }
    for (size_t i = 0; i < 9; i++) requests.push_back({queries[i].get(), refs[i]});
    for (const Threads threads : {Threads::kCaller, Threads::kShared}) {
      std::vector<std::vector<float>> scores;
      std::vector<Ranking> rankings;
      REQUIRE(snapshot->Score(requests, {}, threads, &scores).ok());
      REQUIRE(snapshot->Rank(requests, {5}, {}, threads, &rankings).ok());
      REQUIRE(scores.size() == 9);
      REQUIRE(rankings.size() == 9);
      for (size_t i = 0; i < 9; i++) {
        CHECK(scores[i] == ScoresOf(*snapshot, *queries[i], refs[i], Threads::kCaller));
        CHECK(Same(rankings[i].best, BestOf(scores[i], Numbers(refs[i].size()), 5)));
      }
      scores.clear();
      rankings.clear();
      REQUIRE(snapshot->Score({}, {}, threads, &scores).ok());
      REQUIRE(snapshot->Rank({}, {5}, {}, threads, &rankings).ok());
      CHECK(scores.empty());
      CHECK(rankings.empty());
    }
  }
}
