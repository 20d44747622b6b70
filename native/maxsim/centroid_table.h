// What one query has to do with the centroids of a codebook: the start of every product with a
// token of that centroid (MaxsimResidual in kernel.h).
#ifndef MAXSIM_MAXSIM_CENTROID_TABLE_H_
#define MAXSIM_MAXSIM_CENTROID_TABLE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "maxsim/codebook.h"
#include "maxsim/kernel.h"
#include "maxsim/query.h"

namespace maxsim {

// The number of bits by which a row's exact sums are shifted to fit 16.
uint32_t TableShift(const PreparedQuery& query, const Codebook& codebook);

class CentroidTable {
 public:
  CentroidTable() = default;
  ~CentroidTable();
  CentroidTable(const CentroidTable&) = delete;
  CentroidTable& operator=(const CentroidTable&) = delete;

  // Fills the rows of the centroids that occur in `documents`, or all where that costs no more.
  // Rows filled before stay. Memory is reused from one table to the next.
  void Fill(const PreparedQuery& query, const Codebook& codebook,
            std::span<const MaxsimDocument> documents);
  void FillAll(const PreparedQuery& query, const Codebook& codebook);

  const int16_t* rows() const { return rows_; }
  uint32_t shift() const { return shift_; }

 private:
  void Allocate(const PreparedQuery& query, const Codebook& codebook);

  int16_t* rows_ = nullptr;       // [centroid][block][16]
  std::vector<uint64_t> filled_;  // a bit per row
  size_t size_ = 0;               // of the memory, in bytes
  uint32_t shift_ = 0;
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_CENTROID_TABLE_H_
