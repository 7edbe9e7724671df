-- The members whom a suppression names, by any of their names.
-- Inputs: able, suppressed. Grain: one row a suppressed member.
SELECT customer_id, bool_or(email) AS email, bool_or(sms) AS sms, bool_or(ads) AS ads, bool_or(post) AS post
FROM (
  SELECT p.customer_id, s.email, s.sms, s.ads, s.post FROM suppressed s JOIN able p ON s.named = p.customer_id
  UNION ALL
  SELECT p.customer_id, s.email, s.sms, s.ads, s.post FROM suppressed s JOIN able p ON s.named = p.person
  UNION ALL
  SELECT p.customer_id, s.email, s.sms, s.ads, s.post FROM suppressed s JOIN able p ON s.named = p.email_key
  UNION ALL
  SELECT p.customer_id, s.email, s.sms, s.ads, s.post FROM suppressed s
  JOIN able p ON s.named = split_part(p.email_key, '@', -1)
  UNION ALL
  SELECT p.customer_id, s.email, s.sms, s.ads, s.post FROM suppressed s JOIN able p ON s.named = p.phone_key
  UNION ALL
  SELECT p.customer_id, s.email, s.sms, s.ads, s.post FROM suppressed s JOIN able p ON s.named = p.phone
)
GROUP BY customer_id
