import java.net.InetAddress;
import java.net.UnknownHostException;

/** Lookup NAME…: what Java says of each, a line of "NAME ADDRESS…", or "NAME !ERROR". */
class Lookup {
  public static void main(String[] names) {
    for (String name : names) {
      StringBuilder line = new StringBuilder(name);
      try {
        for (InetAddress address : InetAddress.getAllByName(name)) line.append(' ').append(address.getHostAddress());
      } catch (UnknownHostException error) {
        boolean isTemporary = error.getMessage().contains("emporary");
        line.append(isTemporary ? " !" + error.getMessage() : " !absent");
      }
      System.out.println(line);
    }
  }
}
