// Compressors in a row: each stage leaves its values to the next.
#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "compression/compressor.h"

namespace muster {
namespace {

struct PipelineOptions {
  std::vector<std::string> stages = {"top_k", "quantize"};
};

// A scalar as YAML would read it.
OptionValue ParseValue(const std::string& text) {
  int64_t integer = 0;
  double number = 0;
  if (text == "true" || text == "false") return text == "true";
  if (absl::SimpleAtoi(text, &integer)) return integer;
  if (absl::SimpleAtod(text, &number)) return number;
  return text;
}

// "top_k ratio=0.01": a compressor and its options. A list has its items between commas:
// "dense=*bias*,*norm*".
absl::StatusOr<PluginConfig> ParseStage(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  if (words.empty()) return InvalidInput("is empty");
  PluginConfig stage{.name = words[0], .options = {}};
  const PluginInfo* info = Registry<Compressor>::Get().Find(stage.name);
  for (size_t i = 1; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    if (equals == std::string::npos) {
      return InvalidInput(absl::StrCat("'", words[i], "' is not OPTION=VALUE"));
    }
    const std::string name = words[i].substr(0, equals), value = words[i].substr(equals + 1);
    OptionValue parsed = ParseValue(value);
    if (info != nullptr) {
      for (const OptionInfo& option : info->options) {
        if (option.name == name && std::holds_alternative<std::vector<std::string>>(option.default_value)) {
          parsed = std::vector<std::string>(absl::StrSplit(value, ',', absl::SkipEmpty()));
        }
      }
    }
    if (!stage.options.emplace(name, std::move(parsed)).second) {
      return InvalidInput(absl::StrCat(name, ": is given twice"));
    }
  }
  return stage;
}

// Abstract: builds the first stage on what follows it. There is no pipeline in a payload: only its stages,
// one in another.
class Pipeline : public Compressor {
 public:
  static absl::StatusOr<std::unique_ptr<Compressor>> Create(const PipelineOptions& options,
                                                            const Compressor::Context& context) {
    if (context.values != nullptr) return InvalidInput("pipeline: cannot be a stage of another one");
    if (options.stages.empty()) return InvalidInput("stages: must name at least one compressor");
    std::unique_ptr<Compressor> rest;
    for (size_t i = options.stages.size(); i-- > 0;) {
      const std::string where = absl::StrCat("stages[", i, "]");
      const auto stage = ParseStage(options.stages[i]);
      if (!stage.ok()) return Annotate(stage.status(), where);
      const std::shared_ptr<const Compressor> values = std::move(rest);
      auto made = Registry<Compressor>::Get().Create(*stage, {.values = values});
      if (!made.ok()) return Annotate(made.status(), where);
      if (values != nullptr && !(*made)->IsStage()) {
        return InvalidInput(
            absl::StrCat(where, ": ", stage->name, " leaves no values; nothing can follow it"));
      }
      rest = *std::move(made);
    }
    return rest;
  }
};

MUSTER_REGISTER(Compressor,
                Plugin<PipelineOptions>("pipeline",
                                        "Compressors in a row: each stage leaves its values to the next")
                    .Option("stages", &PipelineOptions::stages,
                            "\"NAME OPTION=VALUE ...\" of every stage, first to last; a list has commas")
                    .Make<Pipeline>());

}  // namespace
}  // namespace muster
