#!lua flags=no-writes
-- check_acl -- tell which of the given commands the calling user may run, without running them; for a client's start.
-- ARGV[1+] commands  str  1 to 1000 commands, each: the number of its words, then its words up to its keys and channels
-- REPLY    allowed   int  for each command: 1, 0, or -1 if this server has no such command
-- ERROR    BADARG    an argument is malformed or over a limit
-- REPEAT   reads: what holds now
-- WRITES   no
-- BOUND    1000 commands
-- VERSION  1

local starts, at = {}, 1
while at <= #ARGV do
  local width = tonumber(ARGV[at])
  if not width or width < 1 or width > 100 or width % 1 ~= 0 or at + width > #ARGV then
    return redis.error_reply('BADARG field=commands at=' .. at)
  elseif width < 3 and string.match(string.upper(ARGV[at + 1]), '^[EF][VC]A') then
    -- EVAL or FCALL without the number of its keys: asking Valkey 9.1 about such a command crashes it.
    return redis.error_reply('BADARG field=commands at=' .. at)
  end
  starts[#starts + 1] = at
  at = at + width + 1
end
if #KEYS ~= 0 or #starts < 1 or #starts > 1000 then
  return redis.error_reply('BADARG field=commands limit=1000')
end
local reply = {}
for i, start in ipairs(starts) do
  local last = ARGV[start] + start
  local exists, allowed = pcall(redis.acl_check_cmd, unpack(ARGV, start + 1, last))
  reply[i] = not exists and -1 or (allowed and 1 or 0)
end
return reply
