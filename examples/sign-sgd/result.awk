# NAME TRAIN_LOSS ACCURACY UPLOAD_BYTES of a run, from its rounds.jsonl (one object a line, keys in a fixed order): the
# train loss is the mean over clients of the last round that evaluated them.
function number(text, key) { return match(text, "\"" key "\":[-0-9.e+]+") ? substr(text, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "" }
{
  bytes += number($0, "upload_bytes")
  if (match($0, /"test":\{[^}]*\}/)) accuracy = number(substr($0, RSTART, RLENGTH), "accuracy")
  if (match($0, /"clients":\[.*\]/)) {
    n = split(substr($0, RSTART, RLENGTH), parts, /"client":/)
    sum = 0
    for (i = 2; i <= n; ++i) sum += number(parts[i], "loss")
    loss = sum / (n - 1)
  }
}
END { print name, loss, accuracy, bytes }
