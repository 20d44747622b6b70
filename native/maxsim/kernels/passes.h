// MaxSim for every codec, written once over the vectors of one instruction set: `I` says how many
// query tokens a vector holds, how large a tile of document tokens is, and how to multiply.
// Included as static code by each SIMD kernel file.
//
// Query tokens lie in lanes. A pass walks a document in tiles of T tokens for B blocks of 16 query
// tokens; dot products and running maxima stay in registers until the document ends. A longer query
// takes several passes over the same document.
//
// What I provides (V vectors hold the query tokens of a pass):
//   Int, Float            vectors of kLanes int32 or float
//   kLanes, kPassBlocks   lanes of a vector; blocks per pass
//   kTile, kSmallTile     tokens per tile; a smaller tile for shorter documents, or 1
//   kResidualTile, kResidualOneBlockTile   the same for residuals, whose expansion needs registers
//                         too: for kPassBlocks, for one block
//   kStepDims             dims per step of Dot
//   Lanes                 the query's bytes as Dot wants them
//   Dot<T, V>             adds the products of some dims of T rows to dot[T][V]
//   kTailDims, DotTail    the last dims of residuals, and their products token by token; or 0
//   InOrder               keeps the compiler from mixing those up; only where kTailDims is not 0
//   FromUnsigned          turns a start for products with stored bytes into one for what Dot adds
//                         (some instruction sets multiply value, not value + 128)
//   DotFloats<T, V>, Expand, FactorsOf, and operations on vectors
#ifndef MAXSIM_MAXSIM_KERNELS_PASSES_H_
#define MAXSIM_MAXSIM_KERNELS_PASSES_H_

#include "maxsim/kernels/bytes.h"
#include "maxsim/kernels/centroids.h"
#include "maxsim/kernels/codes.h"
#include "maxsim/kernels/encode.h"
#include "maxsim/kernels/floats.h"
#include "maxsim/kernels/residuals.h"

#endif  // MAXSIM_MAXSIM_KERNELS_PASSES_H_
