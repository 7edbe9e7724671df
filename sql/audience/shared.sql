-- The members who have an address that another member has who comes before, by id.
-- Inputs: audience_flags, met_twice (the hashes of addresses that several members have). Grain: one row a member.
SELECT customer_id FROM (
  SELECT r.customer_id, row_number() OVER (PARTITION BY r.address_key ORDER BY r.customer_id) AS place
  FROM met_twice t
  JOIN (
    SELECT customer_id, address_key, id_hash(address_key) AS address_hash FROM audience_flags
    WHERE with_address AND consented AND NOT stopped AND address_key IS NOT NULL
  ) r ON t.address_hash = r.address_hash
) WHERE place > 1
