// MUSTER_KERNEL for the loops of optimisers.
#ifndef MUSTER_OPTIM_KERNEL_H_
#define MUSTER_OPTIM_KERNEL_H_

#include "core/kernel.h"

#endif  // MUSTER_OPTIM_KERNEL_H_
