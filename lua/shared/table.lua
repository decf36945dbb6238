-- XINFO replies with a flat list of names and values. This makes it a table.
local function to_table(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
