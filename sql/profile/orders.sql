-- Clean orders of the day's customers: the facts that the profile's order columns are made of.
-- Inputs: orders_owned, left_out. Grain: one row an order.
SELECT o.* EXCEPT (email, phone)
FROM left_out x
RIGHT ANTI JOIN orders_owned o ON x.customer_id = o.customer_id
