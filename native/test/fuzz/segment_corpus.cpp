// Writes the corpus that segment_fuzz starts from: segment_corpus <folder>. Every codec, few and
// odd documents; run it again when the format changes.
#include <cstdio>
#include <string>
#include <vector>

#include "index/segment_writer.h"
#include "segment_formats.h"

using namespace maxsim;

namespace {

// Columns of one value and of several, with documents that have none.
void AddValues(size_t documents, FieldsWriter* fields) {
  for (size_t i = 0; i < documents; i++) {
    if (i % 3 != 0) fields->AddBoolean(0, i % 2 == 0);
    if (i % 2 == 0) fields->AddKeyword(1, "k" + std::to_string(i));
    for (size_t value = 0; value < i; value++) fields->AddKeyword(2, "l" + std::to_string(value));
    for (size_t value = 1; value < i; value++) fields->AddNumber(3, static_cast<double>(value));
    fields->EndDocument();
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: segment_corpus <folder>\n");
    return 1;
  }
  const std::string folder = arguments[1];
  for (const Codec codec : kAllCodecs) {
    for (const size_t dim : {size_t{8}, size_t{13}}) {
      Noise noise(dim);
      const float scale = codec == Codec::kInt8 ? 1.f / 127 : 1.f;
      const uint32_t crc = ResidualBits(codec) != 0 ? 1 : 0;
      const VectorFormat format = FuzzFormat(codec, static_cast<uint32_t>(dim), scale, crc);
      std::vector<std::vector<float>> vectors;
      std::vector<std::vector<uint8_t>> records;
      const size_t documents = dim == 8 ? 2 : 5;
      for (size_t i = 0; i < documents; i++) {
        vectors.push_back(UnitTokens(1 + i % 3, dim, noise));
        records.push_back(noise.Bytes(i * 5 % 12));
      }
      std::vector<FloatDocuments::Document> source;
      for (size_t i = 0; i < documents; i++) {
        source.push_back({"d" + std::to_string(i * i * i), vectors[i], records[i]});
      }
      FieldsWriter fields(dim == 8 ? std::vector<Field>()
                                   : std::vector<Field>{{"b", FieldType::kBoolean},
                                                        {"k", FieldType::kKeyword},
                                                        {"l", FieldType::kKeyword},
                                                        {"n", FieldType::kNumber}});
      if (dim != 8) AddValues(documents, &fields);
      FloatDocuments floats(format, std::move(source), std::move(fields));
      SegmentSummary summary;
      const std::string path = folder + "/" + CodecName(codec) + "-" + std::to_string(dim);
      Status status = floats.Validate();
      if (status.ok()) status = WriteSegment(path, format, floats, &summary);
      if (!status.ok()) {
        std::fprintf(stderr, "%s\n", status.message().c_str());
        return 1;
      }
    }
  }
  return 0;
}
