// Plug-ins by name. A plug-in is one .cc file: a class, its options struct, and one registration:
//
//   struct FixedOptions { int64_t clients = 10; };
//   class Fixed final : public ParticipationPolicy { ... Fixed(const FixedOptions&, const Context&); ... };
//   MUSTER_REGISTER(ParticipationPolicy,
//                   Plugin<FixedOptions>("fixed", "The same number of clients in every round")
//                       .Option("clients", &FixedOptions::clients, "cohort size", AtLeast(1))
//                       .Make<Fixed>());
//
// An interface that has plug-ins declares
//   using Interface = ParticipationPolicy;                    // itself, for its plug-ins to name
//   static constexpr char kKind[] = "participation policy";   // for messages
//   static constexpr char kList[] = "participation";          // its section in `muster list`
//   struct Context { ... };                                   // what a factory gets beside the options
// Thread-safe once main has started: plug-ins register while their libraries are loaded.
#ifndef MUSTER_CORE_REGISTRY_H_
#define MUSTER_CORE_REGISTRY_H_

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/options.h"
#include "core/status.h"

namespace muster {

// A plug-in as a configuration names it.
struct PluginConfig {
  std::string name;
  OptionMap options;
};

// What `muster list` tells of a plug-in.
struct PluginInfo {
  std::string name;
  std::string summary;  // one line
  std::string source;   // paper, equation; "" where it is common knowledge
  std::vector<OptionInfo> options;
};

// The part of a registry that does not depend on the interface: checks a PluginConfig and completes its
// options. Errors read "name: unknown 'sdg', did you mean 'sgd'?" or "OPTION: ...".
class RegistryBase {
 public:
  virtual ~RegistryBase() = default;
  virtual std::vector<std::string> Names() const = 0;  // sorted
  virtual const PluginInfo* Find(std::string_view name) const = 0;
  absl::StatusOr<PluginConfig> Check(const PluginConfig& config) const;

  // Every registry with at least one plug-in, by its section name in `muster list`.
  static const std::map<std::string, RegistryBase*>& All();

 protected:
  static void Announce(const char* list, RegistryBase* registry);
};

template <typename Interface>
class Registry final : public RegistryBase {
 public:
  using Context = typename Interface::Context;
  using Factory = std::function<absl::StatusOr<std::unique_ptr<Interface>>(const OptionMap& options,
                                                                           const Context& context)>;

  static Registry& Get() {
    static Registry* const registry = new Registry;  // never destroyed: plug-ins may outlive main
    return *registry;
  }

  // Stops the program on a name that is taken: two plug-ins would silently be one.
  bool Register(PluginInfo info, Factory factory) {
    std::string name = info.name;
    if (!entries_.emplace(name, Entry{std::move(info), std::move(factory)}).second) {
      std::fprintf(stderr, "muster: two plug-ins register as %s '%s'\n", Interface::kKind, name.c_str());
      std::abort();
    }
    Announce(Interface::kList, this);
    return true;
  }

  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }
  const PluginInfo* Find(std::string_view name) const override {
    const auto found = entries_.find(std::string(name));
    return found == entries_.end() ? nullptr : &found->second.info;
  }
  // Errors as RegistryBase::Check, or the factory's own.
  absl::StatusOr<std::unique_ptr<Interface>> Create(const PluginConfig& config,
                                                    const Context& context) const {
    MUSTER_ASSIGN_OR_RETURN(const PluginConfig checked, Check(config));
    return entries_.at(checked.name).factory(checked.options, context);
  }

 private:
  struct Entry {
    PluginInfo info;
    Factory factory;
  };
  std::map<std::string, Entry> entries_;
};

struct NoOptions {};

// Builds the registration of one plug-in with options struct S.
template <typename S = NoOptions>
class Plugin {
 public:
  Plugin(std::string name, std::string summary, std::string source = "")
      : info_{std::move(name), std::move(summary), std::move(source), {}} {}

  template <typename T>
  Plugin&& Option(std::string name, T S::*field, std::string doc, Allowed allowed = {}) && {
    table_.Add(std::move(name), field, std::move(doc), std::move(allowed), /*required=*/false);
    return std::move(*this);
  }
  template <typename T>
  Plugin&& Required(std::string name, T S::*field, std::string doc, Allowed allowed = {}) && {
    table_.Add(std::move(name), field, std::move(doc), std::move(allowed), /*required=*/true);
    return std::move(*this);
  }

  // The factory: the constructor Class(const S&, const Context&), Class(const S&) or Class(), or the static
  // Class::Create(const S&, const Context&) -> absl::StatusOr<std::unique_ptr<...>> where making it can fail.
  template <typename Class>
  auto Make() && {
    return std::pair{FinishInfo(), MakeFactory<Class>(std::move(table_))};
  }

 private:
  PluginInfo FinishInfo() {
    info_.options = table_.infos();
    return std::move(info_);
  }
  template <typename Class>
  static auto MakeFactory(OptionTable<S> table) {
    return [table = std::move(table)](const OptionMap& options, const auto& context) {
      using Context = std::decay_t<decltype(context)>;
      using Interface = typename Class::Interface;
      using Result = absl::StatusOr<std::unique_ptr<Interface>>;
      const S parsed = table.Parse(options);
      if constexpr (requires { Class::Create(parsed, context); }) {
        return Result(Class::Create(parsed, context));
      } else if constexpr (std::is_constructible_v<Class, const S&, const Context&>) {
        return Result(std::make_unique<Class>(parsed, context));
      } else if constexpr (std::is_constructible_v<Class, const S&>) {
        return Result(std::make_unique<Class>(parsed));
      } else {
        return Result(std::make_unique<Class>());
      }
    };
  }

  PluginInfo info_;
  OptionTable<S> table_;
};

}  // namespace muster

#define MUSTER_REGISTER_CONCAT_INNER_(a, b) a##b
#define MUSTER_REGISTER_CONCAT_(a, b) MUSTER_REGISTER_CONCAT_INNER_(a, b)
// MUSTER_REGISTER(Interface, Plugin<...>(...)....Make<Class>()); at namespace scope of a .cc file.
#define MUSTER_REGISTER(InterfaceType, ...)                                                          \
  [[maybe_unused]] static const bool MUSTER_REGISTER_CONCAT_(muster_registered_, __COUNTER__) = [] { \
    auto plugin = __VA_ARGS__;                                                                       \
    return ::muster::Registry<InterfaceType>::Get().Register(std::move(plugin.first),                \
                                                             std::move(plugin.second));              \
  }()

#endif  // MUSTER_CORE_REGISTRY_H_
