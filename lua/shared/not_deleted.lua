local refusal, declared, delayed_due = contract_mismatch(meta)
if refusal then
  return redis.error_reply(refusal)
end
local deleted = not declared and redis.call('HGET', meta, 'deleted')
if deleted then
  return redis.error_reply('MISSING deleted=' .. deleted)
end
