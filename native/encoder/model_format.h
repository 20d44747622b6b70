// The bytes of an encoder's file, version 1.
//
//   header        ModelHeader
//   recipe        opaque bytes: how texts become tokens, and where the model came from
//   words         u8[vocabulary][hidden]: value = byte * scale + offset of the word
//   word scales   f32[vocabulary][2]: scale, offset
//   positions     f32[positions][hidden]
//   types         f32[types][hidden]
//   norms         f32[1 + 2 * layers][2][hidden]: gamma, beta; of the embeddings, then of each
//   block
//                 after attention and after the feed-forward part
//   channels      i32[layers][2][slots]: what the slots of a split copy, -1 for nothing; of the
//                 LayerNorm before attention (the block's input), then of the one after it
//   panels        per block: query, key and value together, attention output, up, down; as
//                 kernel.h has them, bytes of -127 to 127
//   columns       per linear layer, in the same order: f32[outputs] scale, f32[outputs] bias
//   dense         per dense layer: f32[inputs][padded outputs] weights, f32[padded outputs] bias
//
// The layout is canonical: sections stand in this order, each at the next multiple of 64, padding
// is zero and the file ends with the last section. Little-endian throughout.
#ifndef MAXSIM_ENCODER_MODEL_FORMAT_H_
#define MAXSIM_ENCODER_MODEL_FORMAT_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "encoder/model_shape.h"

namespace maxsim {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

inline constexpr char kModelMagic[8] = {'M', 'A', 'X', 'S', 'I', 'M', 'E', 'N'};
inline constexpr uint32_t kModelVersion = 1;
inline constexpr uint64_t kModelAlignment = 64;
inline constexpr uint64_t kMaxRecipeBytes = uint64_t{1} << 24;

enum ModelSection : uint32_t {
  kRecipe,
  kWords,
  kWordScales,
  kPositions,
  kTypes,
  kNorms,
  kChannels,
  kPanels,
  kColumns,
  kDense,
  kModelSections
};
inline constexpr const char* kModelSectionNames[kModelSections] = {
    "recipe", "words",    "word scales", "positions", "types",
    "norms",  "channels", "panels",      "columns",   "dense"};

struct ModelSectionEntry {
  uint64_t offset;  // from the start of the file
  uint64_t size;    // without the padding that follows
  uint32_t crc32c;
  uint32_t reserved;
};

struct ModelHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_size;  // 384
  uint32_t hidden, layers, heads, intermediate;
  uint32_t vocabulary, positions, types, slots;
  uint32_t activation, pooling;
  uint32_t dense_outputs[2], dense_activation[2];
  uint32_t normalise;
  float epsilon;
  uint64_t file_size;
  ModelSectionEntry sections[kModelSections];
  uint8_t reserved[52];
  uint32_t crc32c;  // of the 380 bytes before it
};
static_assert(sizeof(ModelSectionEntry) == 24 && std::is_trivially_copyable_v<ModelSectionEntry>);
static_assert(sizeof(ModelHeader) == 384 && std::is_trivially_copyable_v<ModelHeader>);
static_assert(offsetof(ModelHeader, sections) == 88 && offsetof(ModelHeader, crc32c) == 380);

inline constexpr uint64_t ModelAlignUp(uint64_t size) {
  return (size + (kModelAlignment - 1)) & ~(kModelAlignment - 1);
}

// Of a shape without a problem. No overflow: each factor is bounded by ModelShape::Problem.
std::array<uint64_t, kModelSections> ModelSectionSizes(const ModelShape& shape,
                                                       uint64_t recipe_size);

ModelShape ShapeOf(const ModelHeader& header);

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_MODEL_FORMAT_H_
