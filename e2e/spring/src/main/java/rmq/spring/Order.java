package rmq.spring;

/** What an application sends: a bean. */
public class Order {
    private int number;
    private String text;

    public Order() {
    }

    Order(int number, String text) {
        this.number = number;
        this.text = text;
    }

    public int getNumber() {
        return number;
    }

    public void setNumber(int number) {
        this.number = number;
    }

    public String getText() {
        return text;
    }

    public void setText(String text) {
        this.text = text;
    }
}
