// Snapshots: what they find, count and score, merges, and what they take over.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "index/burial.h"
#include "index_fixtures.h"

using namespace maxsim;
namespace fs = std::filesystem;

TEST_CASE("a snapshot finds, counts, scores and searches live documents only") {
  Store store;
  const Corpus first = SmallCorpus(300, 1), second = SmallCorpus(300, 2);
  store.Add("a", first);
  store.Add("b", second);
  store.Bury(0, {0, 5, 299});
  const auto snapshot = store.Open();
  CHECK(snapshot->live_count() == 597);
  CHECK(snapshot->ref_count() == 600);
  CHECK(snapshot->live_tokens() == store.specs[0].tokens + store.specs[1].tokens - 1 - 3 - 3);
  CHECK(snapshot->Find(first.ids[5]) == Snapshot::kUnknown);
  CHECK(snapshot->Find(first.ids[6]) == 6);
  CHECK(snapshot->Find(second.ids[6]) == 306);

  const PreparedQuery query = SmallQuery();
  Ranking ranking;
  REQUIRE(SearchAll(*snapshot, query, {1000}, {}, &ranking).ok());
  const std::vector<ScoredDocument>& best = ranking.best;
  REQUIRE(best.size() == 597);
  std::vector<uint32_t> refs;
  for (const ScoredDocument& document : best) refs.push_back(document.document);
  const std::vector<float> scores = ScoresOf(*snapshot, query, refs);
  for (size_t i = 0; i < best.size(); i++) {
    CHECK(scores[i] == best[i].score);
    CHECK(best[i].document != 5);
    if (i > 0) CHECK(best[i - 1].score >= best[i].score);
  }
  for (const uint32_t bad : {5u, 600u, 0xFFFFFFFFu}) {
    const uint32_t one[] = {bad};
    const Request request{&query, one};
    std::vector<std::vector<float>> none;
    CHECK(CodeOf(snapshot->Score({&request, 1}, {}, Threads::kCaller, &none)) ==
          "INVALID_ARGUMENT");
    std::vector<Ranking> rankings;
    CHECK(CodeOf(snapshot->Rank({&request, 1}, {3}, {}, Threads::kCaller, &rankings)) ==
          "INVALID_ARGUMENT");
  }
  Noise noise(1);
  const PreparedQuery other(noise.Floats(10).data(), 1, 10, 8);
  CHECK(CodeOf(SearchAll(*snapshot, other, {1}, {}, &ranking)) == "MODEL_MISMATCH");
  const Request requests[] = {{&query, refs}, {&other, refs}};
  std::vector<std::vector<float>> none;
  CHECK(CodeOf(snapshot->Score(requests, {}, Threads::kShared, &none)) == "MODEL_MISMATCH");
  std::vector<Ranking> rankings;
  CHECK(CodeOf(snapshot->Rank(requests, {3}, {}, Threads::kShared, &rankings)) == "MODEL_MISMATCH");
}

TEST_CASE("a scan stops when it is cancelled or late") {
  Store store;
  store.Add("a", SmallCorpus(300, 1));
  const auto snapshot = store.Open();
  const PreparedQuery query = SmallQuery();
  std::vector<uint32_t> refs(300);
  for (uint32_t i = 0; i < 300; i++) refs[i] = i;
  const Request request{&query, refs};
  const std::atomic<bool> cancelled{true};
  const Limits limits[] = {{&cancelled, {}}, {nullptr, std::chrono::steady_clock::now()}};
  for (const Limits& limit : limits) {
    Ranking ranking;
    std::vector<Ranking> rankings;
    std::vector<std::vector<float>> scores;
    CHECK(CodeOf(SearchAll(*snapshot, query, {5}, limit, &ranking)) == "ABORTED");
    for (const Threads threads : {Threads::kCaller, Threads::kShared}) {
      CHECK(CodeOf(snapshot->Rank({&request, 1}, {5}, limit, threads, &rankings)) == "ABORTED");
      CHECK(CodeOf(snapshot->Score({&request, 1}, limit, threads, &scores)) == "ABORTED");
    }
  }
}

TEST_CASE("a merge keeps live ids, records and token bytes as they are, in every codec") {
  for (const Codec codec : kAllCodecs) {
    Store store;
    store.format = IndexFormat(codec);
    const Corpus first = SmallCorpus(20, 1), second = SmallCorpus(30, 2);
    store.Add("a", first);
    store.Add("b", second);
    store.Bury(1, {3, 4});
    const auto before = store.Open();
    const uint32_t segments[] = {0, 1};
    LiveDocuments source(before, segments);
    const SegmentSummary summary = WriteSource(store.directory / "c", store.format, source);
    CHECK(summary.documents == 48);
    store.specs.clear();
    store.Add("c", summary);
    const auto after = store.Open(before.get());
    const SegmentHeader& merged = after->segments()[0].reader->header();
    for (const Snapshot::Segment& segment : before->segments()) {
      CHECK(merged.longest >= segment.reader->header().longest);
      CHECK(merged.largest_factor >= segment.reader->header().largest_factor);
    }
    const PreparedQuery query = SmallQuery();
    for (const Corpus* corpus : {&first, &second}) {
      for (const std::string& id : corpus->ids) {
        const uint32_t old_ref = before->Find(id), new_ref = after->Find(id);
        REQUIRE((old_ref == Snapshot::kUnknown) == (new_ref == Snapshot::kUnknown));
        if (old_ref == Snapshot::kUnknown) continue;
        const auto old_score = ScoresOf(*before, query, {old_ref}, Threads::kCaller);
        const auto new_score = ScoresOf(*after, query, {new_ref}, Threads::kShared);
        CHECK(old_score == new_score);
      }
    }
  }
}

TEST_CASE("burying adds to what is dead, per segment, and leaves no file for one that is empty") {
  Store store;
  const Corpus first = SmallCorpus(10, 1), second = SmallCorpus(3, 2), third = SmallCorpus(4, 3);
  store.Add("a", first);
  store.Add("b", second);
  store.Add("c", third);
  store.Bury(0, {2, 3});
  const auto before = store.Open();
  std::vector<Burial> burials;
  const uint32_t refs[] = {12, 0, 10, 9, 9, 11};
  REQUIRE(Bury(store.directory.str(), *before, refs, 7, &burials).ok());
  REQUIRE(burials.size() == 2);
  CHECK(burials[0].segment == 0);
  CHECK(burials[0].file == "a.7.dead");
  CHECK(burials[0].dead_count == 4);
  CHECK(burials[1].segment == 1);
  CHECK(burials[1].file.empty());
  CHECK(burials[1].dead_count == 3);
  std::shared_ptr<const Tombstones> tombstones;
  REQUIRE(Tombstones::Open(store.directory / "a.7.dead", 10, 4, &tombstones).ok());
  CHECK(tombstones->Ordinals() == std::vector<uint32_t>{0, 2, 3, 9});
  const uint32_t dead[] = {2};
  CHECK(CodeOf(Bury(store.directory.str(), *before, dead, 8, &burials)) == "INVALID_ARGUMENT");
}

TEST_CASE("what died while its segment was merged is dead in the merged one") {
  Store store;
  store.Add("a", SmallCorpus(10, 1));
  store.Add("b", SmallCorpus(4, 2));
  store.Add("c", SmallCorpus(5, 3));
  store.Bury(0, {0, 5});
  const auto merged = store.Open();
  const uint32_t sources[] = {0, 2};  // 8 live documents of a, then 5 of c
  const std::string path = store.directory / "m";
  uint64_t count = 99;
  REQUIRE(BuryMerged(path, *merged, sources, *merged, &count).ok());
  CHECK(count == 0);
  CHECK(!fs::exists(path));
  store.Bury(0, {0, 1, 5, 9});
  store.Bury(1, {0});
  store.Bury(2, {4});
  REQUIRE(BuryMerged(path, *merged, sources, *store.Open(), &count).ok());
  std::shared_ptr<const Tombstones> tombstones;
  REQUIRE(Tombstones::Open(path, 13, 3, &tombstones).ok());
  CHECK(tombstones->Ordinals() == std::vector<uint32_t>{0, 7, 12});
  fs::remove(path);
  // All of `a` has died since, so the index has it no more.
  store.specs.erase(store.specs.begin());
  REQUIRE(BuryMerged(path, *merged, sources, *store.Open(), &count).ok());
  REQUIRE(Tombstones::Open(path, 13, 9, &tombstones).ok());
  CHECK(tombstones->IsDead(7));
  CHECK(!tombstones->IsDead(8));
  fs::remove(path);
  store.specs.erase(store.specs.begin() + 1);
  REQUIRE(BuryMerged(path, *merged, sources, *store.Open(), &count).ok());
  CHECK(count == 13);
  CHECK(!fs::exists(path));
}

TEST_CASE("a snapshot takes over what the previous one has mapped, and outlives its files") {
  Store store;
  const Corpus corpus = SmallCorpus(10, 1);
  store.Add("a", corpus);
  const auto before = store.Open();
  fs::remove(store.directory / "a");
  const auto after = store.Open(before.get());
  CHECK(after->segments()[0].reader == before->segments()[0].reader);
  CHECK(after->Find(corpus.ids[3]) == 3);
  std::shared_ptr<const Snapshot> fresh;
  bool missing = false;
  CHECK(!Snapshot::Open(store.directory.str(), kInt8Format, store.specs, {}, nullptr, &fresh,
                        &missing)
             .ok());
  CHECK(missing);
}

TEST_CASE("documents of one codec are stored in another as if they had been given in it") {
  const Corpus first = SmallCorpus(70, 1), second = SmallCorpus(70, 2);
  for (const Codec from : kAllCodecs) {
    Store store;
    store.format = IndexFormat(from);
    store.Add("a", first);
    store.Add("b", second);
    store.Bury(0, {3, 69});
    const auto snapshot = store.Open();
    const uint32_t segments[] = {0, 1};
    for (const Codec to : kAllCodecs) {
      CAPTURE(std::string(CodecName(from)));
      CAPTURE(std::string(CodecName(to)));
      const VectorFormat format = IndexFormat(to);
      LiveDocuments documents(snapshot, segments);
      RecodedDocuments recoded(format, documents);
      REQUIRE(recoded.Validate().ok());
      const SegmentSummary summary = WriteSource(store.directory / "c", format, recoded);
      const auto reader = Open(store.directory / "c", format, summary);
      REQUIRE(reader->document_count() == 138);
      for (uint32_t i = 0; i < 138; i++) {
        CHECK(reader->Id(i) == documents.Id(i));
        CHECK(RecordOf(*reader, i).size() == documents.Record(i).size());
        const MaxsimDocument document = TokensOf(*reader, i);
        REQUIRE(document.token_count == documents.TokenCount(i));
        std::vector<float> vectors(document.token_count * kDim);
        documents.Vectors(i, vectors.data());
        std::vector<uint8_t> bytes(document.token_count * format.TokenBytes());
        EncodedTokens encoded;
        EncodeTokens(format.tokens, vectors.data(), document.token_count, kDim, bytes.data(),
                     &encoded);
        CHECK(std::memcmp(document.tokens, bytes.data(), bytes.size()) == 0);
        CHECK(encoded.longest <= reader->header().longest);
        CHECK(encoded.largest_factor <= reader->header().largest_factor);
      }
      fs::remove(store.directory / "c");
    }
  }
}

TEST_CASE("a document that another codec cannot hold is named before anything is written") {
  Store store;
  store.format = kF32Format;
  Corpus corpus = SmallCorpus(5, 1);
  for (float& value : corpus.vectors[3]) value *= 1e-5f;
  store.Add("a", corpus);
  const auto snapshot = store.Open();
  const uint32_t segments[] = {0};
  LiveDocuments documents(snapshot, segments);
  for (const Codec codec : {Codec::kF16, Codec::kR4, Codec::kR1}) {
    const VectorFormat format = IndexFormat(codec);
    const Status status = RecodedDocuments(format, documents).Validate();
    CHECK(CodeOf(status) == "VECTOR_OUT_OF_RANGE");
    CHECK(status.message().find("\"document-1-3\"") != std::string::npos);
  }
  VectorFormat narrow = kInt8Format;
  narrow.tokens.scale = 1e-4f;
  CHECK(CodeOf(RecodedDocuments(narrow, documents).Validate()) == "VECTOR_OUT_OF_RANGE");
}
