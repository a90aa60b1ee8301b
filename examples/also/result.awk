# NAME ACCURACY WORST_RECALL MACRO_F1 CLIENTS_WORST_DECILE of a run, from its rounds.jsonl (one object a line, keys in a
# fixed order), at the last evaluation. The decile is the mean accuracy of the tenth of the clients that fare worst on
# their own validation data; 0 if clients were not evaluated.
function number(text, key) { return match(text, "\"" key "\":[-0-9.e+]+") ? substr(text, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "" }
{
  if (match($0, /"test":\{[^}]*\}/)) {
    test = substr($0, RSTART, RLENGTH)
    accuracy = number(test, "accuracy")
    f1 = number(test, "macro_f1")
    match(test, /"class_recall":\[[^]]*\]/)
    n = split(substr(test, RSTART + 16, RLENGTH - 17), recalls, ",")
    worst = 1
    for (i = 1; i <= n; ++i) if (recalls[i] + 0 < worst) worst = recalls[i] + 0
  }
  if (match($0, /"clients":\[.*\]/)) {
    n = split(substr($0, RSTART, RLENGTH), parts, /"client":/)
    for (i = 2; i <= n; ++i) accuracies[i - 1] = number(parts[i], "accuracy") + 0
    --n
    tenth = int((n + 9) / 10)
    decile = 0
    for (k = 0; k < tenth; ++k) {
      least = 1
      for (i = 1; i <= n; ++i) if (accuracies[i] < accuracies[least]) least = i
      decile += accuracies[least] / tenth
      accuracies[least] = 2
    }
  }
}
END { print name, accuracy, worst, f1, decile + 0 }
