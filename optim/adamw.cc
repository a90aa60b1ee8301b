// Adam with the weight decay taken out of the gradient.
#include "optim/adam.h"
#include "optim/gradient_method.h"

namespace muster {
namespace {

MUSTER_REGISTER(LocalOptimizer,
                optim::DescribedPlugin<optim::AdamWOptions>(
                    "adamw", "Adam whose weight decay acts on the weights, not through the gradient",
                    "Loshchilov and Hutter 2019")
                    .Make<GradientMethod<optim::AdamW, optim::AdamWOptions>>());

}  // namespace
}  // namespace muster
