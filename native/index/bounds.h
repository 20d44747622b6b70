// What a document's score cannot exceed, by its centroids: how a search proves that it missed none.
#ifndef MAXSIM_INDEX_BOUNDS_H_
#define MAXSIM_INDEX_BOUNDS_H_

#include <cstdint>
#include <vector>

#include "index/codes_reader.h"
#include "index/snapshot.h"

namespace maxsim {

// No token of centroid c lies further from it than an angle b (CodesReader::bounds), so a query
// token q, at an angle a from c, has with it a product of at most
//   |q| * longest * cos(max(0, a - b))
// where `longest` is the length that no token exceeds; or 0, if that is negative. Added is what a
// codec's rounding can (as Scanner::Rest has it). Half a step of the unit is lost by rounding up.
class BoundTable {
 public:
  // Both must outlive it. `tokens`: the largest of all segments.
  BoundTable(const PreparedQuery& query, const VectorFormat& format, const Codebook& codebook,
             const EncodedTokens& tokens);

  // Rows of bytes, [centroid][lanes], for the documents of a segment with bounds.
  void Fill(const CodesReader& codes, std::vector<uint8_t>* rows) const;
  // No document whose bytes add up to `sum` scores more.
  double Score(uint32_t sum) const { return static_cast<double>(sum) * unit_; }

 private:
  const PreparedQuery& query_;
  const Codebook& codebook_;
  std::vector<float> lengths_;  // per lane: of the query token as it is compared with centroids
  std::vector<float> errors_;   // per lane: how much more a token can score, by rounding
  float longest_;
  double unit_;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_BOUNDS_H_
