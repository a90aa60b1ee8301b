# One line an evaluation: arm, upload bytes so far, test accuracy.
function number(key,   at) { at = index($0, "\"" key "\":"); return at ? substr($0, at + length(key) + 3) + 0 : -1 }
{ accuracy = number("accuracy"); sub(/.*"totals"/, ""); if (accuracy >= 0) print name, number("upload_bytes"), accuracy }
