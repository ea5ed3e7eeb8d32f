#include "quant/cholesky.h"

#include <Eigen/Cholesky>
#include <catch2/catch.hpp>
#include <cmath>

namespace klens {
namespace {

// As products of inputs are that go together: with a damped diagonal.
RowMatrix positive_definite(int64_t n) {
  RowMatrix x(n / 2 + 1, n);
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t c = 0; c < n; ++c)
      x(r, c) = std::sin(static_cast<float>(r * 37 + c * c % 101)) + 0.3f;
  RowMatrix a = x.transpose() * x / static_cast<float>(x.rows());
  a.diagonal().array() += 0.01f;
  return a;
}

}  // namespace

TEST_CASE("a factor by blocks is the one that Eigen finds", "[cholesky]") {
  for (const int64_t n : {1, 2, 63, 127, 128, 129, 256, 300}) {
    CAPTURE(n);
    const RowMatrix a = positive_definite(n);
    RowMatrix ours = a;
    ours.triangularView<Eigen::StrictlyUpper>().setConstant(1e9f);  // does not count
    REQUIRE(cholesky_in_place(ours));
    const Eigen::MatrixXd exact = Eigen::LLT<Eigen::MatrixXd>(a.cast<double>()).matrixL();
    const RowMatrix lower = ours.triangularView<Eigen::Lower>();
    CHECK((lower.cast<double>() - exact).norm() < 2e-4 * exact.norm());
    const Eigen::MatrixXd product = lower.cast<double>() * lower.cast<double>().transpose();
    CHECK((product - a.cast<double>()).norm() < 1e-5 * a.cast<double>().norm());
  }
}

TEST_CASE("what has no factor is refused, in whatever block it shows", "[cholesky]") {
  for (const int64_t bad : {0, 100, 129, 299})
    for (const float value : {-1.0f, 0.0f, NAN, INFINITY}) {
      CAPTURE(bad, value);
      RowMatrix a = positive_definite(300);
      a(bad, bad) = value;
      CHECK_FALSE(cholesky_in_place(a));
    }
}

}  // namespace klens
