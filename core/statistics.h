// What a server may ask clients to tell about their data beside an update, by name: part of the wire contract
// (docs/edge.md). All of it is optional. A client that does not tell leaves the name out, and a server
// assumes nothing in its place.
#ifndef MUSTER_CORE_STATISTICS_H_
#define MUSTER_CORE_STATISTICS_H_

namespace muster::statistics {

// Numbers of an update, one value each, about the model as it was received, before training:
// the mean loss over the client's training samples;
inline constexpr char kLoss[] = "local_loss";
// the root of the mean of the squared losses of single samples, over the same samples;
inline constexpr char kLossRms[] = "local_loss_rms";
// the root of the mean of ||g_b - g||^2 over the client's batches b, taken in the order of the samples: g_b
// is a batch's gradient, g their mean.
inline constexpr char kGradientDeviation[] = "gradient_deviation";

}  // namespace muster::statistics

#endif  // MUSTER_CORE_STATISTICS_H_
