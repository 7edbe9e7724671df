-- Who is written and who is held out: of the members who may be, one an address, the first by id.
-- Inputs: audience_flags. Grain: one row a member that the channel may reach, sorted by customer_id.
WITH able AS (
  SELECT *, id_hash(address) AS address_hash FROM audience_flags WHERE with_address AND consented AND NOT stopped
),
shared AS (
  SELECT address_hash FROM able WHERE address IS NOT NULL GROUP BY address_hash HAVING count(*) > 1
),
others AS (
  SELECT customer_id FROM (
    SELECT a.customer_id, row_number() OVER (PARTITION BY a.address ORDER BY a.customer_id) AS place
    FROM shared s JOIN able a ON s.address_hash = a.address_hash
  ) WHERE place > 1
)
SELECT a.customer_id, a.segment, a.record_id, a.address, a.email_ok, a.sms_ok, a.post_ok, a.email_consent_at,
       a.email_consent_source, a.sms_consent_at, a.ads_granted,
       is_held_out(a.segment, a.customer_id, $holdout) OR is_held_out($global_salt, a.customer_id, $global_holdout) AS is_held
FROM others o RIGHT ANTI JOIN able a ON o.customer_id = a.customer_id
ORDER BY a.customer_id
