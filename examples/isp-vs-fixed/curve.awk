# One run's rounds.jsonl to lines "NAME SEED eval UPLOADS ACCURACY", "... chosen M" for each search, and at the end
# "... total UPLOADS".
function number_after(text, key,   at) {
  at = index(text, key)
  return at ? substr(text, at + length(key)) + 0 : ""
}
{
  uploads = number_after($0, "\"uploads\":")
  test = index($0, "\"test\":{")
  if (test) print name, seed, "eval", uploads, number_after(substr($0, test), "\"accuracy\":")
  search = index($0, "\"search\":{")
  if (search) print name, seed, "chosen", number_after(substr($0, search), "\"chosen\":")
}
END { print name, seed, "total", uploads }
