// A convolution, its ReLU and its pooling over a whole batch, forward and backward, without autograd and
// without gathering patches.
//
// A channel's images lie one behind the other in one long row, with zeros between the lines of an image and
// between images: as many as the padding, one gap being the right edge of a line and the left of the next.
// Each tap of the kernel is then that row read from another place, and the three products of a convolution
// are products of long rows (learning/long_rows.h).
#ifndef MUSTER_LEARNING_CONVOLUTION_H_
#define MUSTER_LEARNING_CONVOLUTION_H_

#include <cstdint>
#include <vector>

#include "learning/long_rows.h"

namespace muster {

struct ImageShape {
  int64_t channels = 0, height = 0, width = 0;
  int64_t size() const { return channels * height * width; }
};

// Where the images of a batch lie. A line's pixels are adjacent.
struct Images {
  float* data = nullptr;
  int64_t sample_step = 0, channel_step = 0, line_step = 0;

  float* line(int64_t sample, int64_t channel, int64_t y) const {
    return data + sample * sample_step + channel * channel_step + y * line_step;
  }
};

// Stride 1; kernels and paddings of both sides alike. Not thread-safe.
class Convolution {
 public:
  // outputs() channels of kernel x kernel; with `pool` every 2 x 2 pixels become their maximum, and an odd
  // last line or column is dropped. 0 <= padding < kernel, and something must be left.
  Convolution(const ImageShape& input, int64_t channels, int64_t kernel, int64_t padding, bool pool);
  Convolution(Convolution&&) = default;  // rows point into their own memory: there are no copies

  const ImageShape& input_shape() const { return input_; }
  // After the pooling.
  ImageShape output_shape() const;

  // Makes room for a batch. Before any of the next; what they gave is lost.
  void SetBatch(int64_t size);
  // Where the batch goes. Only what is inside the images may be written.
  Images input();
  // weight is [channels][input channels][kernel][kernel], bias [channels].
  void Forward(const float* weight, const float* bias);
  // The result of Forward through ReLU and pooling. Where `to` has a gap it is not written.
  void Activate(const Images& to) const;
  // From the loss' gradient by what Activate gave: gradients by weight and bias, which are overwritten.
  void Backward(const Images& by_output, float* by_weight, float* by_bias);
  // Then, with the weight of Forward: the gradient by the input, valid up to the next of these calls.
  Images BackwardInput(const float* weight);

 private:
  // One long row for each channel, [lead][batch images][tail].
  struct Rows {
    std::vector<float> memory;
    float* first = nullptr;  // of the first channel, behind its lead
    int64_t step = 0;        // between channels
    float* row(int64_t channel) const { return first + channel * step; }
  };
  void Make(Rows& rows, int64_t channels, int64_t lead, int64_t tail) const;
  Images Inside(const Rows& rows) const;
  // Undoes Activate: the gradient by the result of Forward.
  void Deactivate(const Images& by_output);

  const ImageShape input_;
  const ImageShape full_;  // before the pooling
  const int64_t kernel_, padding_;
  const bool pool_;
  const int64_t line_;   // from one line of an image to the next
  const int64_t image_;  // from one image to the next
  int64_t batch_ = 0, capacity_ = 0;
  Rows in_, out_, by_out_, by_in_;  // by_out_ is 0 outside of the images
  PackedFactors factors_;
  std::vector<const float*> taps_, rows_;
  std::vector<float*> results_;
  std::vector<float> lanes_;
};

}  // namespace muster

#endif  // MUSTER_LEARNING_CONVOLUTION_H_
