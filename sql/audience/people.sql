-- The members of an audience with what the newest landed data says of each: `is_gone` where it says nothing any more.
-- Inputs: members (customer_id, segment), roots, door_records, door_others (people who were never landed as customers and still
-- have orders). Grain: one row a member.
SELECT m.customer_id, m.segment, coalesce(d.customer_id, o.customer_id) AS record_id,
       CASE WHEN d.customer_id IS NULL THEN o.customer_id IS NULL ELSE d.is_deleted END AS is_gone,
       coalesce(d.person, m.customer_id) AS person,
       coalesce(d.email_key, o.email_key) AS email_key, coalesce(d.phone_key, o.phone_key) AS phone_key,
       coalesce(d.phone, o.phone) AS phone, d.address IS NOT NULL AS has_post,
       coalesce(d.email_status, 'not_subscribed') AS email_status, coalesce(d.sms_status, 'not_subscribed') AS sms_status,
       d.email_consent_at, d.sms_consent_at, d.email_consent_source, d.ads_consent
FROM door_others o
RIGHT JOIN (
  (SELECT * FROM door_records WHERE is_main) d
  RIGHT JOIN (
    SELECT m.customer_id, m.segment, coalesce(r.root, m.customer_id) AS person
    FROM roots r RIGHT JOIN members m ON r.id = m.customer_id
  ) m ON d.person = m.person
) ON o.customer_id = m.customer_id
