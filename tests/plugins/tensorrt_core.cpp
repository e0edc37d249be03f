// What the TensorRT plugins decide (plugins/tensorrt/core.h), and that they start the right kernels with the right
// arguments: enqueue.cu as host code against the CPU loops.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../plugins/kernels/gsvnet_kernels.h"
#include "../../plugins/tensorrt/core.h"

using namespace gsvnet::tensorrt;

#define CHECK(condition) \
  if (!(condition)) std::printf("line %d: %s\n", __LINE__, #condition), std::exit(1)

namespace {

void check_types() {
  const auto allowed = [](Operation operation, std::vector<Type> types, int inputs) {
    for (size_t i = 0; i < types.size(); ++i)
      if (!supports(operation, static_cast<int>(i), inputs, types.data(), true)) return false;
    return true;
  };
  const Type f = Type::kFloat, h = Type::kHalf, b = Type::kInt8, i = Type::kInt32, l = Type::kInt64;
  CHECK(allowed(Operation::kWarp, {f, f, f, f}, 2));
  CHECK(allowed(Operation::kWarp, {h, h, h, h}, 2));
  CHECK(!allowed(Operation::kWarp, {h, f, h, h}, 2));  // one type for all
  CHECK(!allowed(Operation::kWarp, {f, f, f, h}, 2));
  CHECK(!allowed(Operation::kWarp, {b, b, b, b}, 2));
  CHECK(!allowed(Operation::kFilter, {Type::kOther}, 3));
  CHECK(allowed(Operation::kFilter, {f, f, f, f}, 3));
  CHECK(allowed(Operation::kFilter, {h, h, h, h}, 3));
  CHECK(!allowed(Operation::kFilter, {h, h, f, h}, 3));
  CHECK(allowed(Operation::kLabels, {f, b}, 1));  // the shape input counted among the inputs or not
  CHECK(allowed(Operation::kLabels, {h, l, b}, 2));
  CHECK(allowed(Operation::kLabels, {f, i, b}, 2));
  CHECK(!allowed(Operation::kLabels, {f, f, b}, 2));
  CHECK(!allowed(Operation::kLabels, {f, i, i}, 2));
  CHECK(!supports(Operation::kWarp, 0, 2, &f, false));  // linear layout only
  CHECK(output_type(Operation::kWarp, h) == h && output_type(Operation::kLabels, h) == b);
}

// An output's shape, with inputs whose sizes are 10 * input + axis and a size of {70, 71}.
std::vector<int> shape(Operation operation, int output) {
  std::vector<int> sizes;
  for (int axis = 0; axis < rank(operation); ++axis) {
    const Extent at = extent(operation, output, axis);
    sizes.push_back(at.kind == Extent::kInput ? 10 * at.from + at.axis
                                              : at.kind == Extent::kConstant ? at.axis : 70 + at.axis);
  }
  return sizes;
}

void check_shapes() {
  CHECK((shape(Operation::kWarp, 0) == std::vector<int>{0, 1, 2, 3}));
  CHECK((shape(Operation::kWarp, 1) == std::vector<int>{0, 1, 2, 3}));  // here 1 is the constant
  CHECK(extent(Operation::kWarp, 1, 1).kind == Extent::kConstant);
  CHECK((shape(Operation::kFilter, 0) == std::vector<int>{0, 1, 2, 3}));
  CHECK((shape(Operation::kLabels, 0) == std::vector<int>{0, 70, 71}));
}

void check_sizes() {
  const Sizes fine{2, 19, 9, 33, 2, 0, 0};
  const auto with = [&](auto change) {
    Sizes sizes = fine;
    change(sizes);
    return sizes;
  };
  const auto filter = [&](int64_t channels) { return with([&](Sizes& s) { s.other = channels; }); };
  CHECK(!problem(Operation::kWarp, fine));
  CHECK(problem(Operation::kWarp, filter(3)));
  CHECK(problem(Operation::kWarp, with([](Sizes& s) { s.classes = 257; })));
  CHECK(problem(Operation::kWarp, with([](Sizes& s) { s.rows = 0; })));
  CHECK(problem(Operation::kWarp, with([](Sizes& s) { s.columns = -1; })));
  CHECK(problem(Operation::kWarp, with([](Sizes& s) { s.n = 70000; })));
  CHECK(!problem(Operation::kFilter, filter(10)) && !problem(Operation::kFilter, filter(18)));
  CHECK(problem(Operation::kFilter, filter(9)) && problem(Operation::kFilter, filter(26)));
  CHECK(problem(Operation::kLabels, fine));
  CHECK(!problem(Operation::kLabels, with([](Sizes& s) { s.height = 72, s.width = 264; })));
  CHECK(workspace(Operation::kWarp, fine) == 2 * 9 * 33);
  CHECK(workspace(Operation::kFilter, fine) == 0);
  CHECK(enqueue(Operation::kWarp, Type::kFloat, filter(3), nullptr, nullptr, nullptr, nullptr) == -1);
  CHECK(enqueue(Operation::kWarp, Type::kInt8, fine, nullptr, nullptr, nullptr, nullptr) == -1);
}

std::vector<float> numbers(size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(std::rand() % 2001 - 1000) / 300;
  return values;
}

void check_kernels() {
  const int n = 2, classes = 19, rows = 9, columns = 33, height = 71, width = 260;
  const size_t cells = n * rows * columns, all = classes * cells;
  const auto scores = numbers(all), intra = numbers(all), flow = numbers(2 * cells);
  std::vector<float> warped(all), edges(cells), out(all), warped_too(all), edges_too(cells), out_too(all);
  std::vector<uint8_t> scratch(cells);

  Sizes sizes{n, classes, rows, columns, 2, height, width};
  const void* const warp_in[] = {scores.data(), flow.data()};
  void* const warp_out[] = {warped.data(), edges.data()};
  CHECK(!enqueue(Operation::kWarp, Type::kFloat, sizes, warp_in, warp_out, scratch.data(), nullptr));
  CHECK(!gsvnet_segmentation_warp(scores.data(), flow.data(), n, classes, rows, columns, warped_too.data(),
                                  edges_too.data(), 1));
  CHECK(warped == warped_too && edges == edges_too);

  for (const int neighbours : {9, 17}) {
    const auto weights = numbers(static_cast<size_t>(neighbours + 1) * cells);
    sizes.other = neighbours + 1;
    const void* const filter_in[] = {warped.data(), intra.data(), weights.data()};
    void* const filter_out[] = {out.data()};
    CHECK(!enqueue(Operation::kFilter, Type::kFloat, sizes, filter_in, filter_out, nullptr, nullptr));
    CHECK(!gsvnet_guided_filter(warped.data(), intra.data(), weights.data(), n, classes, rows, columns, neighbours,
                                out_too.data(), 1));
    CHECK(out == out_too);
  }

  std::vector<uint8_t> labels(static_cast<size_t>(n * height * width)), labels_too(labels.size());
  const void* const labels_in[] = {out.data()};
  void* const labels_out[] = {labels.data()};
  CHECK(!enqueue(Operation::kLabels, Type::kFloat, sizes, labels_in, labels_out, nullptr, nullptr));
  for (int i = 0; i < n; ++i)
    CHECK(!gsvnet_label_upsample(out.data() + i * classes * rows * columns, classes, rows, columns,
                                 labels_too.data() + i * height * width, height, width, width, 1));
  CHECK(labels == labels_too);

  // float16: whole numbers, which it holds exactly, weighted by the centre alone, come out as they went in
  std::vector<uint16_t> half(all), half_weights(10 * cells), half_out(all), half_edges(cells), still(2 * cells);
  for (uint16_t& value : half) value = static_cast<uint16_t>(0x3c00 + 0x400 * (std::rand() % 8));  // 1, 2, 4 ... 128
  for (int i = 0; i < n; ++i)
    for (int cell = 0; cell < rows * columns; ++cell)
      half_weights[static_cast<size_t>((i * 10 + 4) * rows * columns + cell)] = 0x3c00;
  sizes.other = 2;
  const void* const half_warp_in[] = {half.data(), still.data()};
  void* const half_warp_out[] = {half_out.data(), half_edges.data()};
  CHECK(!enqueue(Operation::kWarp, Type::kHalf, sizes, half_warp_in, half_warp_out, scratch.data(), nullptr));
  CHECK(half_out == half);
  sizes.other = 10;
  std::vector<uint16_t> filtered(all);
  const void* const half_filter_in[] = {half.data(), half.data(), half_weights.data()};
  void* const half_filter_out[] = {filtered.data()};
  CHECK(!enqueue(Operation::kFilter, Type::kHalf, sizes, half_filter_in, half_filter_out, nullptr, nullptr));
  CHECK(filtered == half);
  sizes.height = rows, sizes.width = columns;  // at its own size a label is the cell's best class
  const void* const half_labels_in[] = {half.data()};
  CHECK(!enqueue(Operation::kLabels, Type::kHalf, sizes, half_labels_in, labels_out, nullptr, nullptr));
  CHECK(!std::memcmp(labels.data(), scratch.data(), cells));
}

}  // namespace

int main() {
  check_types();
  check_shapes();
  check_sizes();
  check_kernels();
  std::printf("as decided\n");
}
