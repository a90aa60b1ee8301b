// PowerSGD: every matrix of the model as a product of two thin ones.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/nested.h"
#include "compression/wire.h"
#include "core/magnitude.h"

namespace muster {
namespace {

constexpr int kMostRanks = 64;

struct PowerSgdOptions {
  int64_t rank = 2;
  int64_t iterations = 2;
};

// A tensor as a matrix: its first dimension by all the others.
struct Matrix {
  int64_t rows = 0, columns = 0;
  int64_t rank = 0;  // 0: it goes as it is, for factors would not be smaller

  int64_t values() const { return rank > 0 ? rank * (rows + columns) : rows * columns; }
};

Matrix MatrixOf(const Layout::Entry& entry, int64_t rank) {
  const int64_t size = entry.size();
  Matrix matrix{.rows = entry.shape.empty() ? 1 : entry.shape[0]};
  matrix.columns = matrix.rows > 0 ? size / matrix.rows : 0;
  const int64_t most = std::min({rank, matrix.rows, matrix.columns});
  if (entry.shape.size() >= 2 && most * (matrix.rows + matrix.columns) < size) matrix.rank = most;
  return matrix;
}

int64_t ValuesOf(const Layout& layout, int64_t rank) {
  int64_t values = 0;
  for (const Layout::Entry& entry : layout.entries) values += MatrixOf(entry, rank).values();
  return values;
}

double Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// Modified Gram-Schmidt on `rank` vectors of n elements each, one behind the other. One that depends on those
// before it becomes 0.
void Orthonormalize(float* vectors, int64_t n, int64_t rank) {
  for (int64_t r = 0; r < rank; ++r) {
    float* const v = vectors + r * n;
    const double before = std::sqrt(Dot(v, v, n));
    for (int64_t s = 0; s < r; ++s) {
      const double along = Dot(v, vectors + s * n, n);
      for (int64_t i = 0; i < n; ++i) v[i] = static_cast<float>(v[i] - along * vectors[s * n + i]);
    }
    const double norm = std::sqrt(Dot(v, v, n));
    const double inverse = norm > 1e-5 * before ? 1 / norm : 0;
    for (int64_t i = 0; i < n; ++i) v[i] = static_cast<float>(v[i] * inverse);
  }
}

// Factors P (rank vectors of `rows`) and Q (rank vectors of `columns`) with M ~ sum_r P_r Q_r^T: power
// iterations from random vectors; P is orthonormal and Q = M^T P, so that the product is the projection of M
// on P.
void Factor(const float* m, const Matrix& matrix, int64_t iterations, Random& random, float* p, float* q) {
  const int64_t rows = matrix.rows, columns = matrix.columns;
  for (int64_t i = 0; i < matrix.rank * columns; ++i) q[i] = static_cast<float>(random.Normal());
  std::vector<double> sums(static_cast<size_t>(columns));
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    Orthonormalize(q, columns, matrix.rank);
    for (int64_t r = 0; r < matrix.rank; ++r) {
      for (int64_t i = 0; i < rows; ++i) {
        p[r * rows + i] = static_cast<float>(Dot(m + i * columns, q + r * columns, columns));
      }
    }
    Orthonormalize(p, rows, matrix.rank);
    for (int64_t r = 0; r < matrix.rank; ++r) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (int64_t i = 0; i < rows; ++i) {
        const double scale = p[r * rows + i];
        for (int64_t j = 0; j < columns; ++j) sums[j] += scale * m[i * columns + j];
      }
      std::transform(sums.begin(), sums.end(), q + r * columns,
                     [](double sum) { return static_cast<float>(sum); });
    }
  }
}

// Data: u8 rank; then, nested, the values of every tensor in order: where `rank` vectors are fewer values,
// the vectors P_r one behind the other and then the Q_r; else the tensor as it is. A compressor keeps nothing
// between rounds, so iterations begin with random vectors, not with the last round's.
class PowerSgd final : public Compressor {
 public:
  PowerSgd(const PowerSgdOptions& options, const Context& context)
      : options_(options), values_(ValuesOr(context.values, {"identity", {}})) {}

  uint8_t codec() const override { return 20; }
  bool IsStage() const override { return true; }

  // A projection loses no more than all; how much less depends on the update.
  Traits traits(const Layout& layout) const override {
    const Traits values = values_->traits(VectorLayout(ValuesOf(layout, options_.rank)));
    Traits traits;
    if (values.omega == 0) traits.delta = 0;
    if (values.bytes) traits.bytes = *values.bytes + 2;
    return traits;
  }

  absl::StatusOr<Payload> Compress(std::span<const float> x, const Layout& layout,
                                   const RandomKey& key) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(x, layout));
    std::vector<float> values(static_cast<size_t>(ValuesOf(layout, options_.rank)));
    float* out = values.data();
    Random random(key);
    for (const Layout::Entry& entry : layout.entries) {
      const Matrix matrix = MatrixOf(entry, options_.rank);
      const float* const m = x.data() + entry.offset;
      if (matrix.rank > 0) {
        Factor(m, matrix, options_.iterations, random, out, out + matrix.rank * matrix.rows);
      } else {
        std::copy_n(m, entry.size(), out);
      }
      out += matrix.values();
    }
    if (!std::isfinite(LargestMagnitude(values)))
      return InvalidInput("the update is too large to factor in float32");
    Payload payload{PayloadHeader(codec(), layout)};
    AppendNumber(static_cast<uint8_t>(options_.rank), payload.bytes);
    MUSTER_RETURN_IF_ERROR(AppendNested(*values_, values, VectorLayout(static_cast<int64_t>(values.size())),
                                        key, payload.bytes));
    return payload;
  }

  absl::Status Decode(std::string_view data, const Layout& layout, std::span<float> out) const override {
    WireReader wire("power_sgd", data);
    MUSTER_ASSIGN_OR_RETURN(const uint8_t rank, wire.Number<uint8_t>("rank"));
    if (rank == 0 || rank > kMostRanks) return wire.Error("rank", absl::StrCat("cannot be ", rank));
    std::vector<float> values(static_cast<size_t>(ValuesOf(layout, rank)));
    MUSTER_RETURN_IF_ERROR(
        DecodeNested(wire.Rest(), VectorLayout(static_cast<int64_t>(values.size())), values));
    const float* in = values.data();
    for (const Layout::Entry& entry : layout.entries) {
      const Matrix matrix = MatrixOf(entry, rank);
      float* const m = out.data() + entry.offset;
      if (matrix.rank == 0) {
        std::copy_n(in, entry.size(), m);
      } else {
        std::fill_n(m, entry.size(), 0.0F);
        const float* const q = in + matrix.rank * matrix.rows;
        for (int64_t i = 0; i < matrix.rows; ++i) {
          for (int64_t r = 0; r < matrix.rank; ++r) {
            const float scale = in[r * matrix.rows + i];
            for (int64_t j = 0; j < matrix.columns; ++j)
              m[i * matrix.columns + j] += scale * q[r * matrix.columns + j];
          }
        }
      }
      in += matrix.values();
    }
    return absl::OkStatus();
  }

 private:
  const PowerSgdOptions options_;
  const std::shared_ptr<const Compressor> values_;
};

MUSTER_REGISTER(
    Compressor,
    Plugin<PowerSgdOptions>("power_sgd", "Matrices as products of two thin ones; contractive; a stage",
                            "Vogels et al. 2019 (PowerSGD), arXiv:1905.13727, algorithm 1 (cold start)")
        .Option("rank", &PowerSgdOptions::rank, "columns of the thin matrices", Between(1, kMostRanks))
        .Option("iterations", &PowerSgdOptions::iterations, "power iterations from random vectors",
                Between(1, 20))
        .Make<PowerSgd>());

}  // namespace
}  // namespace muster
