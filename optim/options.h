// Options of an optimiser, written once: LibTorch's FooOptions with setters and serialisation, and the
// options of the plug-in of the same name, both from one list of fields:
//
//   struct FooOptions : OptionsOf<FooOptions> {
//     MUSTER_ARG(double, lr) = 0.1;
//     template <typename Visitor>
//     static void Describe(Visitor&& option) {
//       option("learning_rate", &FooOptions::lr_, "step size", Above(0));
//     }
//   };
//
// Every such struct has an `lr`.
#ifndef MUSTER_OPTIM_OPTIONS_H_
#define MUSTER_OPTIM_OPTIONS_H_

#include <c10/util/Exception.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/serialize.h>

#include <string>
#include <type_traits>
#include <utility>

#include "core/registry.h"

// TORCH_ARG, but the field can be named by Describe and its plug-in.
#define MUSTER_ARG(T, name)                                             \
  auto name(const T& new_##name)->decltype(*this) { /* NOLINT */        \
    this->name##_ = new_##name;                                         \
    return *this;                                                       \
  }                                                                     \
  const T& name() const noexcept { return this->name##_; } /* NOLINT */ \
  T name##_                                                /* NOLINT */

namespace muster::optim {

template <typename Derived>
struct OptionsOf : public torch::optim::OptimizerCloneableOptions<Derived> {
  void serialize(torch::serialize::OutputArchive& archive) const override {
    Derived::Describe([&](const char* name, auto field, const auto&...) {
      archive.write(name, c10::IValue(self().*field));
    });
  }
  void serialize(torch::serialize::InputArchive& archive) override {
    Derived::Describe([&](const char* name, auto field, const auto&...) {
      c10::IValue value;
      archive.read(name, value);
      using T = std::decay_t<decltype(self().*field)>;
      self().*field = value.to<T>();
    });
  }
  double get_lr() const override { return self().lr_; }
  void set_lr(const double learning_rate) override { self().lr_ = learning_rate; }

  // Throws c10::Error for a value that its description does not allow.
  void Check() const {
    Derived::Describe([&](const char* name, auto field, const char* doc, const Allowed& allowed = {}) {
      const OptionValue value = self().*field;
      const auto checked = CheckOption({name, doc, OptionValue(Derived{}.*field), allowed}, value);
      TORCH_CHECK(checked.ok(), Message(checked.status()));
    });
  }

 private:
  Derived& self() { return static_cast<Derived&>(*this); }
  const Derived& self() const { return static_cast<const Derived&>(*this); }
};

// The registration of a plug-in whose options are all those of `Options`.
template <typename Options>
Plugin<Options> DescribedPlugin(const char* name, const char* summary, const char* source) {
  Plugin<Options> plugin(name, summary, source);
  Options::Describe([&]<typename T, typename Base>(const char* option, T Base::*field, const char* doc,
                                                   const Allowed& allowed = {}) {
    std::move(plugin).Option(option, static_cast<T Options::*>(field), doc, allowed);
  });
  return plugin;
}

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_OPTIONS_H_
