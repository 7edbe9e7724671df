-- Members who were never landed as customers (orders name them, or they are guests) and of whom an order is still landed.
-- Inputs: rest (the members without a record), door_orders (every landed order as it is read), customer_contacts. Grain: one row
-- a member. Their contact data are those of the newest published day.
SELECT m.customer_id, email_key(c.email) AS email_key, e164(c.phone, CAST(NULL AS VARCHAR)) AS phone_key, c.email, c.phone
FROM rest m
LEFT SEMI JOIN (
  SELECT coalesce(customer_id, guest_id(coalesce(lower(email), phone))) AS customer_id FROM door_orders
) o ON o.customer_id = m.customer_id
LEFT JOIN customer_contacts c ON c.customer_id = m.customer_id
