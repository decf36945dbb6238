if not declared then
  check_allowed('XADD', log, '*', 'f', 'v')
  redis.call('HSETNX', meta, 'protocol', protocol)
  redis.call('HSETNX', meta, 'partitions', partitions)
  redis.call('HSETNX', meta, 'hash', hash)
end
local first, id = nil, '*'
-- Adds the entry with the arguments from `from` to `to`. All entries of a call get ids of one millisecond, and of the next
-- one where its sequence numbers end: only ids that others chose come near that end. Where the millisecond is too large for
-- an exact number, Redis chooses the id: such an id is ahead of every clock anyway.
local function add(from, to, is_last)
  local added = redis.call('XADD', log, id, unpack(ARGV, from, to))
  first = first or added
  local is_last_of_ms = #added > 20 and string.find(added, '-18446744073709551615', 1, true)
  if not is_last and (id == '*' or is_last_of_ms) then
    local ms = string.match(added, '^%d+')
    if is_last_of_ms then ms = tonumber(ms) < 2 ^ 53 and string.format('%.0f', ms + 1) end
    id = ms and ms .. '-*' or '*'
  end
end
