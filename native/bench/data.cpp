#include "data.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace maxsim::bench {
namespace {

bool ReadFloats(const std::string& path, size_t count, std::vector<float>* values) {
  values->resize(count);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(values->data()),
            static_cast<std::streamsize>(count * sizeof(float)));
  if (file) return true;
  std::fprintf(stderr, "%s does not hold %zu floats.\n", path.c_str(), count);
  return false;
}

std::vector<float> FirstDims(const float* rows, size_t count, size_t stride, size_t dims) {
  std::vector<float> values(count * dims);
  for (size_t i = 0; i < count; i++) std::copy_n(rows + i * stride, dims, &values[i * dims]);
  return values;
}

}  // namespace

bool Data::Load(const std::string& folder) {
  std::ifstream shape(folder + "/shape.txt");
  if (!(shape >> documents >> document_tokens >> dim >> query_tokens)) {
    std::fprintf(stderr, "%s/shape.txt does not begin with four numbers.\n", folder.c_str());
    return false;
  }
  return ReadFloats(folder + "/tokens.f32", documents * document_tokens * dim, &tokens) &&
         ReadFloats(folder + "/query.f32", query_tokens * dim, &query);
}

std::vector<float> Data::Document(size_t document, size_t dims) const {
  return FirstDims(&tokens[document * document_tokens * dim], document_tokens, dim, dims);
}

std::vector<float> Data::Query(size_t count, size_t dims) const {
  return FirstDims(query.data(), count, dim, dims);
}

}  // namespace maxsim::bench
