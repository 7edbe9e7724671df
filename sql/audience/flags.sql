-- What may be used of each member, and how far the member comes on the way to the file. The markers are the channel's:
-- whether there is an address, the address, whether it is consented to, whether it is suppressed.
-- Inputs: able (the rows of placed.sql, in order), suppressed_people. Grain: one row a member, sorted by customer_id.
SELECT *, email_may AND NOT email_stopped AS email_ok, sms_may AND NOT sms_stopped AS sms_ok,
       has_post AND NOT post_stopped AS post_ok, NOT is_gone AND /*has_address*/ AS with_address, /*address*/ AS address_key,
       /*consented*/ AS consented, /*stopped*/ AS stopped
FROM (
  SELECT a.*, coalesce(s.email, false) AS email_stopped, coalesce(s.sms, false) AS sms_stopped,
         coalesce(s.ads, false) AS ads_stopped, coalesce(s.post, false) AS post_stopped
  FROM suppressed_people s
  RIGHT JOIN able a ON s.customer_id = a.customer_id
)
