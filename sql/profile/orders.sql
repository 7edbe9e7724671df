-- Clean orders of the day's customers: the facts that the profile's order columns are made of.
-- Inputs: orders_owned, customers. Grain: one row an order; those of customers who are left out are not in it.
SELECT o.* EXCEPT (email, phone), c.customer_no
FROM customers c
JOIN orders_owned o ON c.customer_id = o.customer_id
