// Columns of fields: what goes in comes out, also through segments and merges; what is damaged is
// refused and harms nothing.
#include "index/fields.h"

#include <doctest/doctest.h>

#include <cmath>

#include "field_fixtures.h"
#include "index_fixtures.h"

using namespace maxsim;

namespace {

std::vector<uint8_t> SectionOf(const FieldsWriter& writer) {
  std::vector<uint8_t> section;
  const Status status = writer.Finish(&section);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return section;
}

std::vector<FieldDocument> RandomDocuments(size_t count, size_t terms, uint64_t seed) {
  Noise noise(seed);
  std::vector<FieldDocument> documents;
  for (size_t i = 0; i < count; i++) documents.push_back(RandomFields(noise, terms));
  return documents;
}

// The documents of a segment with those values.
FloatDocuments Source(const Corpus& corpus, const std::vector<FieldDocument>& documents) {
  std::vector<FloatDocuments::Document> given;
  for (size_t i = 0; i < corpus.ids.size(); i++) {
    given.push_back({corpus.ids[i], corpus.vectors[i], corpus.records[i]});
  }
  return FloatDocuments(kInt8Format, std::move(given), WriterOf(documents));
}

}  // namespace

TEST_CASE("columns give back the values of every document, whatever the width of their codes") {
  for (const size_t terms : {1u, 3u, 255u, 256u, 300u, 70000u}) {
    CAPTURE(terms);
    const size_t count = terms > 1000 ? 140000 : 500;
    const std::vector<FieldDocument> documents = RandomDocuments(count, terms, terms);
    const std::vector<uint8_t> section = SectionOf(WriterOf(documents));
    FieldsReader reader;
    uint64_t offset = 0;
    std::string problem;
    REQUIRE_MESSAGE(
        FieldsReader::Open(section, static_cast<uint32_t>(count), &reader, &offset, &problem),
        problem);
    REQUIRE(reader.columns().size() == kTestFields.size());
    size_t different = 0;
    for (uint32_t i = 0; i < count; i++) different += ReadFields(reader, i) == documents[i] ? 0 : 1;
    CHECK(different == 0);
    for (size_t i = 0; i < kTestFields.size(); i++) {
      CHECK(reader.columns()[i].field == kTestFields[i]);
    }
    if (terms == 70000) CHECK(reader.columns()[1].width == 4);
    if (terms == 300) CHECK(reader.columns()[1].width == 2);
    if (terms == 3) CHECK(reader.columns()[1].width == 1);
  }
}

TEST_CASE("the order and repetition of a document's values leave no trace in the section") {
  FieldsWriter one(kTestFields), two(kTestFields);
  for (const char* tag : {"b", "a", "c"}) one.AddKeyword(1, tag);
  for (const char* tag : {"c", "b", "b", "a", "c"}) two.AddKeyword(1, tag);
  for (const double price : {0.0, 2.0}) one.AddNumber(3, price);
  for (const double price : {2.0, -0.0, 2.0}) two.AddNumber(3, price);
  one.EndDocument();
  two.EndDocument();
  CHECK(SectionOf(one) == SectionOf(two));
}

TEST_CASE("an index without fields has an empty section") {
  CHECK(SectionOf(FieldsWriter({})).empty());
  FieldsReader reader;
  uint64_t offset;
  std::string problem;
  CHECK(FieldsReader::Open({}, 5, &reader, &offset, &problem));
  CHECK(reader.columns().empty());
}

TEST_CASE("a cut section, and one with any byte changed, is refused or harmless") {
  const uint32_t count = 13;
  const std::vector<uint8_t> section = SectionOf(WriterOf(RandomDocuments(count, 5, 3)));
  FieldsReader reader;
  uint64_t offset = 0;
  std::string problem;
  for (size_t size = 1; size < section.size(); size++) {
    GuardedBytes memory(section.size());
    const size_t whole = size / 8 * 8;  // sections begin at multiples of 64
    const uint8_t* bytes = memory.Place(section.data(), whole, 0);
    if (whole == 0) continue;
    CHECK(!FieldsReader::Open({bytes, whole}, count, &reader, &offset, &problem));
    CHECK(!problem.empty());
    CHECK(offset <= size);
  }
  GuardedBytes memory(section.size());
  size_t refused = 0;
  for (size_t at = 0; at < section.size(); at++) {
    for (const uint8_t flip : {0x01, 0x80, 0xff}) {
      uint8_t* bytes = memory.Place(section.data(), section.size(), 0);
      bytes[at] ^= flip;
      if (!FieldsReader::Open({bytes, section.size()}, count, &reader, &offset, &problem)) {
        refused++;
        continue;
      }
      // Another value, perhaps, but all of it can be read.
      for (uint32_t i = 0; i < count; i++) ReadFields(reader, i);
    }
  }
  CHECK(refused > section.size());
  CHECK(!FieldsReader::Open(section, count - 1, &reader, &offset, &problem));
  CHECK(!FieldsReader::Open(section, count + 1, &reader, &offset, &problem));
}

TEST_CASE("segments keep fields, and a merge keeps those of live documents") {
  Store store;
  std::vector<std::vector<FieldDocument>> documents;
  for (uint64_t s = 0; s < 3; s++) {
    const Corpus corpus = SmallCorpus(40, s + 1);
    documents.push_back(RandomDocuments(40, 6 + s * 300, s + 10));
    FloatDocuments source = Source(corpus, documents[s]);
    const std::string file = "s" + std::to_string(s);
    store.Add(file, WriteSource(store.directory / file, store.format, source));
  }
  store.Bury(1, {0, 7, 39});
  const auto snapshot = store.Open();
  CHECK(snapshot->CheckFields(kTestFields).ok());
  CHECK(CodeOf(snapshot->CheckFields({})) == "CORRUPT_INDEX");

  const std::vector<uint32_t> all = {0, 1, 2};
  LiveDocuments live(snapshot, all);
  Store merged;
  merged.Add("m", WriteSource(merged.directory / "m", merged.format, live));
  const auto result = merged.Open();
  const FieldsReader& fields = result->segments()[0].reader->fields();
  uint32_t next = 0;
  for (size_t s = 0; s < 3; s++) {
    for (uint32_t i = 0; i < 40; i++) {
      if (snapshot->segments()[s].IsDead(i)) continue;
      CHECK(ReadFields(fields, next++) == documents[s][i]);
    }
  }
  CHECK(next == 117);

  RecodedDocuments recoded(kF32Format, live);
  std::vector<uint8_t> before, after;
  REQUIRE(live.Fields(&before).ok());
  REQUIRE(recoded.Fields(&after).ok());
  CHECK(before == after);
}

TEST_CASE("every changed byte of a segment's fields is noticed") {
  const TempDirectory directory;
  const Corpus corpus = SmallCorpus(9);
  FloatDocuments source = Source(corpus, RandomDocuments(9, 4, 1));
  const SegmentSummary summary = WriteSource(directory / "s", kInt8Format, source);
  const auto reader = Open(directory / "s", kInt8Format, summary);
  const SectionEntry section = reader->header().sections[kFields];
  REQUIRE(section.size > 0);
  const std::vector<uint8_t> bytes = ReadAll(directory / "s");
  for (uint64_t at = 0; at < section.size; at++) {
    std::vector<uint8_t> damaged = bytes;
    damaged[section.offset + at] ^= 0x10;
    WriteAll(directory / "t", damaged);
    std::shared_ptr<const SegmentReader> none;
    CHECK(CodeOf(SegmentReader::Open(directory / "t", Expect(kInt8Format, summary), {}, &none)) ==
          "CORRUPT_INDEX");
  }
}
