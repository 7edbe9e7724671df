-- Who is written and who is held out: of the members who may be, one an address.
-- Inputs: audience_flags, shared. Grain: one row a member that the channel may reach, sorted by customer_id.
SELECT a.*,
       is_held_out(a.segment, a.customer_id, $holdout) OR is_held_out($global_salt, a.customer_id, $global_holdout) AS is_held
FROM shared s
RIGHT ANTI JOIN (SELECT * FROM audience_flags WHERE with_address AND consented AND NOT stopped) a ON s.customer_id = a.customer_id
