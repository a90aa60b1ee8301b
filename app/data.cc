// `muster data`: who holds what, as a table and a picture.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "app/commands.h"
#include "app/experiment.h"
#include "core/file.h"
#include "learning/federated_data.h"

namespace muster {
namespace {

constexpr int64_t kShownClients = 30;
// One colour a class, told apart by most eyes; classes beyond the tenth start over.
constexpr const char* kColors[] = {"#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f",
                                   "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac"};

std::string ClassName(const Dataset& data, int64_t k) {
  return data.class_names.empty() ? absl::StrCat(k) : data.class_names[static_cast<size_t>(k)];
}

// Distance of a client's class mix from everybody's: 0 alike, towards 1 disjoint (total variation).
double Skew(const std::vector<int64_t>& counts, const std::vector<double>& overall) {
  int64_t total = 0;
  for (const int64_t c : counts) total += c;
  double distance = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    distance += std::fabs(static_cast<double>(counts[k]) / static_cast<double>(std::max<int64_t>(1, total)) -
                          overall[k]);
  }
  return distance / 2;
}

// A bar of `width` characters, one letter a class (0-9, a-z), as long as the client's share of the largest
// client.
std::string Bar(const std::vector<int64_t>& counts, int64_t largest, int width) {
  std::string bar;
  double owed = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    owed += static_cast<double>(counts[k]) * width / static_cast<double>(std::max<int64_t>(1, largest));
    while (static_cast<double>(bar.size()) + 0.5 < owed)
      bar += "0123456789abcdefghijklmnopqrstuvwxyz"[k % 36];
  }
  return bar;
}

std::string Svg(const FederatedData& data, const std::vector<std::vector<int64_t>>& counts) {
  const int64_t shown = std::min<int64_t>(data.clients(), 200);
  int64_t largest = 1;
  for (int64_t c = 0; c < shown; ++c) {
    largest = std::max(largest, static_cast<int64_t>(data.training.samples(c).size()));
  }
  const double width = 900, left = 60, row = shown > 60 ? 6 : 14;
  const double height = static_cast<double>(shown) * row + 70;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" font-family=\"sans-serif\" "
      "font-size=\"11\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      width + left + 20, height);
  for (int64_t c = 0; c < shown; ++c) {
    double x = left;
    const double y = static_cast<double>(c) * row + 10;
    if (row > 10 || c % 10 == 0) {
      absl::StrAppendFormat(&svg, "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%d</text>\n", left - 6,
                            y + row - 3, c);
    }
    std::vector<int64_t> parts = counts[static_cast<size_t>(c)];
    if (parts.empty()) parts = {static_cast<int64_t>(data.training.samples(c).size())};
    for (size_t k = 0; k < parts.size(); ++k) {
      const double w = static_cast<double>(parts[k]) * width / static_cast<double>(largest);
      if (w > 0) {
        absl::StrAppendFormat(&svg, "<rect x=\"%.2f\" y=\"%g\" width=\"%.2f\" height=\"%g\" fill=\"%s\"/>\n",
                              x, y, w, row - 1, kColors[k % 10]);
      }
      x += w;
    }
  }
  double x = left;
  for (int64_t k = 0; k < data.train().num_classes && x < width; ++k) {
    std::string name;
    for (const char c : ClassName(data.train(), k)) {
      name += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
    }
    absl::StrAppendFormat(
        &svg,
        "<rect x=\"%g\" y=\"%g\" width=\"10\" height=\"10\" fill=\"%s\"/><text x=\"%g\" y=\"%g\">%s</text>\n",
        x, height - 35, kColors[k % 10], x + 14, height - 26, name);
    x += 30 + 7.0 * static_cast<double>(ClassName(data.train(), k).size());
  }
  absl::StrAppendFormat(&svg,
                        "<text x=\"%g\" y=\"%g\">client (down), training samples (right; the longest bar is "
                        "%d)</text>\n</svg>\n",
                        left, height - 8, largest);
  return svg;
}

}  // namespace

absl::Status ShowData(const DataArguments& arguments) {
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment,
                          LoadExperiment(arguments.config, arguments.overrides));
  const v1::Experiment& config = experiment.config;
  MUSTER_ASSIGN_OR_RETURN(const FederatedData data,
                          BuildFederatedData(config.data(), config.pin().partition(), config.seed()));
  std::vector<std::vector<int64_t>> counts;
  std::vector<int64_t> sizes, overall(static_cast<size_t>(data.train().num_classes), 0);
  for (int64_t c = 0; c < data.clients(); ++c) {
    sizes.push_back(static_cast<int64_t>(data.training.samples(c).size()));
    counts.push_back(data.train().num_classes > 0 ? ClassCounts(data.train(), data.training.samples(c))
                                                  : std::vector<int64_t>());
    for (size_t k = 0; k < overall.size(); ++k) overall[k] += counts.back()[k];
  }
  const int64_t total = data.training.total_samples();
  std::vector<double> mix;
  for (const int64_t n : overall) mix.push_back(static_cast<double>(n) / static_cast<double>(total));

  std::printf("%s, %s: %lld training samples over %lld clients", config.data().dataset().name().c_str(),
              config.data().partition().name().c_str(), static_cast<long long>(total),
              static_cast<long long>(data.clients()));
  if (data.dropped_clients > 0) {
    std::printf(" (%lld clients with fewer than %lld samples dropped)",
                static_cast<long long>(data.dropped_clients),
                static_cast<long long>(config.data().min_samples()));
  }
  std::printf("; %lld validation, %zu trust, %lld test samples\n\n",
              static_cast<long long>(data.validation.total_samples()), data.trust.size(),
              static_cast<long long>(data.test().size()));

  const bool table = data.train().num_classes > 0 && data.train().num_classes <= 20;
  const int64_t largest = *std::max_element(sizes.begin(), sizes.end());
  std::printf("%8s %8s", "client", "samples");
  if (table) {
    for (int64_t k = 0; k < data.train().num_classes; ++k) {
      std::printf(" %6.6s", ClassName(data.train(), k).c_str());
    }
    std::printf("  %5s", "skew");
  }
  std::printf("  picture\n");
  double skew_sum = 0;
  for (int64_t c = 0; c < data.clients(); ++c) {
    const auto& own = counts[static_cast<size_t>(c)];
    const double skew = Skew(own, mix);
    skew_sum += skew;
    if (c >= kShownClients) continue;
    std::printf("%8lld %8lld", static_cast<long long>(c),
                static_cast<long long>(sizes[static_cast<size_t>(c)]));
    if (table) {
      for (const int64_t n : own) std::printf(" %6lld", static_cast<long long>(n));
      std::printf("  %5.2f", skew);
    }
    const std::vector<int64_t> bar = own.empty() ? std::vector<int64_t>{sizes[static_cast<size_t>(c)]} : own;
    std::printf("  %s\n", Bar(bar, largest, 40).c_str());
  }
  if (data.clients() > kShownClients) {
    std::printf("%8s  %lld more clients\n", "...", static_cast<long long>(data.clients() - kShownClients));
  }
  std::vector<int64_t> sorted = sizes;
  std::sort(sorted.begin(), sorted.end());
  std::printf("\nsamples per client: smallest %lld, median %lld, mean %.1f, largest %lld\n",
              static_cast<long long>(sorted.front()), static_cast<long long>(sorted[sorted.size() / 2]),
              static_cast<double>(total) / static_cast<double>(data.clients()),
              static_cast<long long>(sorted.back()));
  if (data.train().num_classes > 0) {
    std::printf("label skew (total variation from the whole mix, 0 alike to 1 disjoint): mean %.3f\n",
                skew_sum / static_cast<double>(data.clients()));
  }
  if (!arguments.svg.empty()) {
    MUSTER_RETURN_IF_ERROR(WriteFileAtomic(arguments.svg, Svg(data, counts)));
    std::printf("picture: %s\n", arguments.svg.c_str());
  }
  if (!arguments.partition.empty()) {
    MUSTER_RETURN_IF_ERROR(WriteFileAtomic(arguments.partition, PartitionToJson(data.dealt)));
    std::printf("partition: %s\n", arguments.partition.c_str());
  }
  return absl::OkStatus();
}

}  // namespace muster
