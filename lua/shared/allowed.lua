-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
