// Centroids in groups of like ones: the nearest centroid of a token is looked for in the groups
// nearest to it, as inverted files look for nearest neighbours (Jegou, Douze and Schmid, "Product
// quantization for nearest neighbor search", 2011).
#ifndef MAXSIM_MAXSIM_CENTROID_GROUPS_H_
#define MAXSIM_MAXSIM_CENTROID_GROUPS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace maxsim {

// Which groups there are, and what is found, depends on the centroids and the token alone: not on
// the machine, nor on the tokens beside it.
class CentroidGroups {
 public:
  // Fewer centroids are compared with all of them in no time.
  static constexpr size_t kFewestCentroids = 8192;

  // rows: [count][PaddedDim(dim)], value + 128, a unit of which is worth `centroid_scale`; terms as
  // kernels.nearest has them. Both are copied.
  CentroidGroups(const uint8_t* rows, const int32_t* terms, size_t count, size_t dim,
                 float centroid_scale);

  // The centroids of block_count * 16 tokens as QuantiseForNearest leaves them, 64-byte aligned.
  void Nearest(const int8_t* tokens, size_t block_count, uint32_t* centroids) const;

 private:
  void MakeGroups(const uint8_t* rows, size_t count);
  void DropEmptyGroups(size_t count);
  void Arrange(const uint8_t* rows, const int32_t* terms, size_t count);
  void ChooseGroups(const int8_t* block, size_t first, std::vector<uint32_t>* tokens_of) const;
  void SearchGroup(size_t group, const int8_t* tokens, const std::vector<uint32_t>& chosen,
                   int32_t* largest, uint32_t* centroids) const;

  size_t dim_, padded_dim_, group_count_ = 0;
  float centroid_scale_;
  std::vector<uint8_t> middles_;  // [group][padded_dim], value + 128
  std::vector<int32_t> middle_terms_;
  uint32_t shift_ = 0;              // of what tokens and middles are compared by
  std::vector<uint32_t> group_of_;  // of each centroid
  // The centroids again, group after group.
  std::vector<size_t> starts_;  // [groups + 1]
  std::vector<uint8_t> rows_;
  std::vector<int32_t> terms_;
  std::vector<uint32_t> ids_;
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_CENTROID_GROUPS_H_
