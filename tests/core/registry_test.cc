#include "core/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace muster {
namespace {

struct Shape {
  using Interface = Shape;
  static constexpr char kKind[] = "shape";
  static constexpr char kList[] = "shapes";
  struct Context {
    double scale = 1;
  };
  virtual ~Shape() = default;
  virtual double Area() const = 0;
};

struct SquareOptions {
  double side = 2;
};
// The three ways a factory may be given: constructor, constructor with context, Create.
class Square final : public Shape {
 public:
  explicit Square(const SquareOptions& options) : side_(options.side) {}
  double Area() const override { return side_ * side_; }

 private:
  double side_;
};
class ScaledSquare final : public Shape {
 public:
  ScaledSquare(const SquareOptions& options, const Context& context) : side_(options.side * context.scale) {}
  double Area() const override { return side_ * side_; }

 private:
  double side_;
};
class Circle final : public Shape {
 public:
  static absl::StatusOr<std::unique_ptr<Shape>> Create(const SquareOptions& options, const Context&) {
    if (options.side > 10) return InvalidInput("too round");
    return std::unique_ptr<Shape>(new Circle);
  }
  double Area() const override { return 3; }
};
class Point final : public Shape {
 public:
  double Area() const override { return 0; }
};

MUSTER_REGISTER(Shape, Plugin<SquareOptions>("square", "Four sides", "Euclid")
                           .Option("side", &SquareOptions::side, "length", Above(0))
                           .Make<Square>());
MUSTER_REGISTER(Shape, Plugin<SquareOptions>("scaled", "Four sides, scaled")
                           .Required("side", &SquareOptions::side, "length", Above(0))
                           .Make<ScaledSquare>());
MUSTER_REGISTER(Shape, Plugin<SquareOptions>("circle", "No side")
                           .Option("side", &SquareOptions::side, "ignored")
                           .Make<Circle>());
MUSTER_REGISTER(Shape, Plugin("point", "Nothing").Make<Point>());

const Registry<Shape>& Shapes() { return Registry<Shape>::Get(); }

TEST(Registry, ListsNamesSortedAndDescribesThem) {
  EXPECT_EQ(Shapes().Names(), (std::vector<std::string>{"circle", "point", "scaled", "square"}));
  const PluginInfo* info = Shapes().Find("square");
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->summary, "Four sides");
  EXPECT_EQ(info->source, "Euclid");
  ASSERT_EQ(info->options.size(), 1u);
  EXPECT_EQ(info->options[0].default_value, OptionValue(2.0));
  EXPECT_EQ(Shapes().Find("cube"), nullptr);
  EXPECT_EQ(RegistryBase::All().at("shapes"), &Registry<Shape>::Get());
}

TEST(Registry, CreatesWithDefaultsOptionsAndContext) {
  EXPECT_EQ((*Shapes().Create({"square", {}}, {}))->Area(), 4);
  EXPECT_EQ((*Shapes().Create({"square", {{"side", int64_t{3}}}}, {}))->Area(), 9);
  EXPECT_EQ((*Shapes().Create({"scaled", {{"side", 3.0}}}, {.scale = 2}))->Area(), 36);
  EXPECT_EQ((*Shapes().Create({"circle", {}}, {}))->Area(), 3);
  EXPECT_EQ((*Shapes().Create({"point", {}}, {}))->Area(), 0);
}

TEST(Registry, CheckCompletesOptions) {
  const auto checked = Shapes().Check({"square", {}});
  ASSERT_TRUE(checked.ok());
  EXPECT_EQ(checked->options.at("side"), OptionValue(2.0));
}

TEST(Registry, ErrorsSayWhatIsWrong) {
  const auto error = [](const PluginConfig& config) { return Message(Shapes().Create(config, {}).status()); };
  EXPECT_EQ(error({"sqare", {}}), "name: unknown 'sqare', did you mean 'square'?");
  EXPECT_EQ(error({"dodecahedron", {}}),
            "name: unknown 'dodecahedron'; known: circle, point, scaled, square");
  EXPECT_EQ(error({"square", {{"sode", 1.0}}}), "sode: unknown option, did you mean 'side'?");
  EXPECT_EQ(error({"square", {{"side", 0.0}}}), "side: 0 is out of range, must be above 0");
  EXPECT_EQ(error({"scaled", {}}), "side: is missing; it must be given (number: length)");
  EXPECT_EQ(error({"circle", {{"side", 11.0}}}), "too round");
}

TEST(RegistryDeathTest, ANameTwiceStopsTheProgram) {
  EXPECT_DEATH(
      {
        auto plugin = Plugin("point", "Again").Make<Point>();
        Registry<Shape>::Get().Register(std::move(plugin.first), std::move(plugin.second));
      },
      "two plug-ins register as shape 'point'");
}

}  // namespace
}  // namespace muster
